//! A run ends with a whole tenant or with nothing but its own history, whatever fails or dies on the way.

mod fencing;
mod hooks;
mod line;
mod repair;
mod outage;
mod purge;
mod rights;
mod saga;
mod service;

use std::time::Duration;

use narthex::identifiers::{TenantId, Timezone, unguessable_id};
use narthex::provisioning::{
    CreatedTenant, NewOwner, NewTenant, Provisioner, RunFailure, WantedSlug,
};
use narthex::registry::runs::provisioning_runs::{Run, Step};

use sqlx::{Connection, Executor, PgConnection, Row};

use crate::support::TestApp;

/// A tenant whose owner's address nobody has.
pub fn new_tenant() -> NewTenant {
    NewTenant {
        organization_name: "Grace Chapel".to_owned(),
        slug: WantedSlug::Derived,
        timezone: Timezone::UTC,
        plan: None,
        unproven: false,
        owner: Some(NewOwner {
            email: format!("{}@example.org", unguessable_id().simple()).parse().unwrap(),
            password_hash: "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA".to_owned(),
            first_name: "Ada".to_owned(),
            last_name: "Lovelace".to_owned(),
        }),
    }
}

/// Runs statements from where no future can be awaited. Returns the last one's number.
pub fn at_once(url: &str, sql: &'static [&'static str]) -> i64 {
    let url = url.to_owned();
    let work = async move {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let mut found = 0;
        for statement in sql {
            let row = connection.fetch_optional(*statement).await.unwrap();
            found = row.map_or(0, |row| row.get(0));
        }
        connection.close().await.unwrap();
        found
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || runtime().block_on(work)).join().unwrap()
}

/// Makes a tenant, to the end of the run; what came of it, and its history.
pub async fn run(
    provisioner: &Provisioner,
    new: &NewTenant,
) -> (Result<CreatedTenant, RunFailure>, Run, Vec<Step>) {
    let started = provisioner.start(new, None).await.unwrap();
    let id = started.planned.run_id;
    let outcome = tokio::time::timeout(Duration::from_secs(60), started.outcome());
    let outcome = outcome.await.expect("the run does not end");
    let (run, steps) = provisioner.progress(id).await.unwrap().unwrap();
    (outcome, run, steps)
}

/// Databases and roles of a tenant on the server.
pub async fn on_server(app: &TestApp, tenant: TenantId) -> i64 {
    let name = tenant.database_name();
    let sql = format!(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname = '{name}')
              + (SELECT count(*) FROM pg_roles WHERE rolname = '{name}')"
    );
    app.cluster.count("postgres", &sql).await
}

/// Rows of the registry that are there for tenants, the history aside.
pub async fn things(app: &TestApp) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM tenants) + (SELECT count(*) FROM email_index)
        + (SELECT count(*) FROM resources WHERE released_at IS NULL)
        + (SELECT count(*) FROM spare_databases WHERE state = 'claimed')";
    app.registry_count(sql).await
}
