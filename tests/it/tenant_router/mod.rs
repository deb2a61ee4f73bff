//! The tenant router, against real databases: the cap, the life of a pool, and the proof of whose database it is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use narthex::configuration::RouterSettings;
use narthex::fleet::template;
use narthex::identifiers::TenantId;
use narthex::postgres::ConnectFailure;
use narthex::postgres::administration::{AdminServer, Administration, DatabaseAssignment, Login};
use narthex::registry::tenants::Tenant;
use narthex::tenant_router::{
    OnTenant, PoolEvent, RouterError, TENANT_GROUP, TenantDb, TenantRouter,
};
use sea_orm::Statement;
use uuid::Uuid;

use crate::support::{TestApp, TestSettings, eventually};

mod administering;
mod breaker;
mod budget;
mod cap;
mod changes;
mod identity;
mod model;
mod opening;
mod retiring;
mod roles;
mod sessions;
mod silence;
mod status;
mod tls;

/// A tenant's role and database on a server, as provisioning makes them.
async fn settle(
    administration: &mut Administration,
    server: &AdminServer,
    name: &str,
    password: &str,
) {
    let (salt, mark) = (&[7; 16], "narthex test");
    let login = Login { name, group: TENANT_GROUP, password, salt, mark, connection_limit: 30 };
    administration.create_login(login).await.unwrap();
    administration.copy_database(&template::name(server), name).await.unwrap();
    let handover = DatabaseAssignment { database: name, role: name, mark };
    administration.assign_database(&handover).await.unwrap();
}

/// An application with some tenants of which nothing is open.
struct Hall {
    app: TestApp,
    ids: Vec<TenantId>,
}

impl Hall {
    async fn with(tenants: usize) -> Self {
        Self::start(tenants, Box::new(|_| {})).await
    }

    async fn start(tenants: usize, change: TestSettings) -> Self {
        let app = TestApp::start_with(change).await;
        let owners = join_all((0..tenants).map(|_| app.register())).await;
        let ids: Vec<_> = owners.iter().map(|owner| owner.tenant_id).collect();
        app.router.close();
        let hall = Self { app, ids };
        for &id in &hall.ids {
            hall.no_connections_of(id).await;
        }
        hall
    }

    /// A router that has opened nothing yet.
    fn router(&self, change: impl FnOnce(&mut RouterSettings)) -> TenantRouter {
        let mut settings = RouterSettings {
            acquire_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            ..RouterSettings::default()
        };
        change(&mut settings);
        let (registry, clock) = (self.app.registry.clone(), self.app.clock.clone());
        TenantRouter::new(registry, settings, &self.app.life, clock)
    }

    /// How many connections a tenant's role has on the server.
    async fn connections_of(&self, id: TenantId) -> i64 {
        let role = id.database_name();
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
        self.app.cluster.count("postgres", &sql).await
    }

    async fn no_connections_of(&self, id: TenantId) {
        eventually("the tenant has no connection left", async || {
            self.connections_of(id).await == 0
        })
        .await;
    }

    /// Runs a statement on a tenant's row of the registry.
    async fn change_row(&self, id: TenantId, assignments: &str) {
        self.app
            .registry_execute(&format!("UPDATE tenants SET {assignments} WHERE id = '{id}'"))
            .await;
    }

    /// Runs a statement in a tenant's database, as the superuser.
    async fn tamper(&self, id: TenantId, sql: &str) {
        self.app.cluster.execute(&id.database_name(), sql).await;
    }

    /// Opens a tenant's database to connections or closes it, ending those there are.
    async fn allow_connections(&self, id: TenantId, allowed: bool) {
        let name = id.database_name();
        let sql = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}");
        self.app.cluster.execute("postgres", &sql).await;
        if !allowed {
            let sql = format!(
                "SELECT pg_terminate_backend(pid, 5000)::text FROM pg_stat_activity WHERE datname = '{name}'"
            );
            self.app.cluster.texts("postgres", &sql).await;
        }
    }
}

async fn tenant(router: &TenantRouter, id: TenantId) -> Arc<Tenant> {
    router.directory().tenant(id).await.unwrap().expect("the directory knows the tenant")
}

async fn connect(router: &TenantRouter, id: TenantId) -> Result<TenantDb, RouterError> {
    router.connect(&tenant(router, id).await).await
}

/// Asks a connection whose it is and which server process is behind it.
async fn ask(db: &impl OnTenant) -> (TenantId, i32) {
    let sql = "SELECT tenant_id, pg_backend_pid() FROM tenant_identity";
    let row = db.query_one_raw(Statement::from_string(sea_orm::DbBackend::Postgres, sql)).await;
    let row = row.unwrap().expect("the row of identity");
    let id: Uuid = row.try_get_by_index(0).unwrap();
    (TenantId(id), row.try_get_by_index(1).unwrap())
}

/// One request: connects, proves whose database it is, gives the connection back. Says which server process it was.
async fn visit(router: &TenantRouter, id: TenantId) -> i32 {
    let db = connect(router, id).await.unwrap();
    let (found, backend) = ask(&db).await;
    assert_eq!(found, id, "led to another tenant");
    backend
}

/// Until the back-off after a failure is over.
async fn visit_eventually(router: &TenantRouter, id: TenantId) {
    eventually("the tenant is served again", async || match connect(router, id).await {
        Ok(db) => {
            assert_eq!(ask(&db).await.0, id, "led to another tenant");
            true
        }
        Err(RouterError::Unavailable(ConnectFailure::BackingOff { .. })) => false,
        Err(other) => panic!("{other:?}"),
    })
    .await;
}

/// What is wrong with the tenant's database, found just now or before the back-off.
#[track_caller]
fn failure_of(outcome: Result<TenantDb, RouterError>) -> ConnectFailure {
    match outcome.err() {
        Some(RouterError::Unavailable(ConnectFailure::BackingOff { last, .. })) => *last,
        Some(RouterError::Unavailable(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// Until look-ups are answered from memory, those of the server among them: then the first poll of a connect begins
/// to open a pool.
async fn warm_up(router: &TenantRouter, other: TenantId) {
    eventually("the router hears of changes", async || router.directory().is_fresh()).await;
    visit(router, other).await;
}

fn count(router: &TenantRouter, event: PoolEvent) -> u64 {
    router.statistics().count(event)
}
