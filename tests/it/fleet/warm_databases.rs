//! Spare databases: made in the background, claimed by rename, verified, and nobody's when their maker dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use narthex::app::App;
use narthex::clock::Clock;
use narthex::fleet::template;
use narthex::fleet::{WARM_PREFIX, WarmDatabaseError};
use narthex::postgres::migrating;
use narthex::provisioning::{FailpointAction, FailpointPosition, Failpoints};
use narthex::registry::tenants::REGISTRY_SERVER;
use narthex::registry::tenants::warm_databases::{self, State, TemplateVersion};
use sea_orm::{ConnectionTrait, TransactionSession, TransactionTrait};

use crate::provisioning::{new_tenant, on_server, run, things};
use crate::support::{TestApp, TestCluster, TestSettings, eventually, own_cluster};

const TWO: fn() -> TestSettings = || Box::new(|settings| settings.provisioning.spares = 2);

/// Names of the spares in this state, oldest first.
async fn spares(app: &TestApp, state: &str) -> Vec<String> {
    let sql =
        format!("SELECT name FROM spare_databases WHERE state = '{state}' ORDER BY created_at");
    app.cluster.texts(&app.registry_database, &sql).await
}

async fn two_are_ready(app: &TestApp) {
    eventually("two spares are ready", async || spares(app, "ready").await.len() == 2).await;
}

/// A replica that keeps two spares.
async fn with_two(app: &TestApp) -> TestApp {
    let mut settings = app.settings.clone();
    settings.provisioning.spares = 2;
    let change: TestSettings = Box::new(move |own| *own = settings);
    let (cluster, registry) = (app.cluster.clone(), app.registry_database.clone());
    TestApp::open_registry(cluster, registry, change).await
}

async fn oid(app: &TestApp, name: &str) -> Vec<String> {
    let sql = format!("SELECT oid::text FROM pg_database WHERE datname = '{name}'");
    app.cluster.texts("postgres", &sql).await
}

#[tokio::test]
async fn a_spare_becomes_the_database_of_a_tenant_and_another_takes_its_place() {
    let app = TestApp::start_with(TWO()).await;
    two_are_ready(&app).await;
    let oldest = spares(&app, "ready").await.remove(0);
    assert!(oldest.starts_with(WARM_PREFIX));
    let open =
        format!("SELECT count(*) FROM pg_database WHERE datname = '{oldest}' AND datallowconn");
    assert_eq!(app.cluster.count("postgres", &open).await, 0, "a spare lets somebody in");
    let before = oid(&app, &oldest).await;
    let staff = app.register().await;
    assert_eq!(oid(&app, &staff.database()).await, before, "it was copied, not renamed");
    assert_eq!(oid(&app, &oldest).await, Vec::<String>::new());
    let connect = format!(
        "SELECT count(*) FROM pg_database d, aclexplode(d.datacl) acl WHERE datname = '{0}'
         AND (acl.grantee = 0 OR (acl.grantee = '{0}'::regrole AND acl.privilege_type = 'CONNECT'))",
        staff.database()
    );
    assert_eq!(app.cluster.count("postgres", &connect).await, 1, "the role, and not everybody");
    staff.get("/v1/members").await.expect(200);
    two_are_ready(&app).await;
    assert!(!spares(&app, "ready").await.contains(&oldest));
    assert_eq!(spares(&app, "claimed").await, Vec::<String>::new());
}

#[tokio::test]
async fn many_at_once_get_a_spare_each_or_a_copy() {
    let app = TestApp::start_with(TWO()).await;
    two_are_ready(&app).await;
    let made = futures_util::future::join_all(
        (0..6).map(|_| async { run(&app.provisioner, &new_tenant()).await.0.unwrap().tenant_id }),
    );
    for tenant in made.await {
        let identity = "SELECT tenant_id::text FROM tenant_identity";
        let identity = app.cluster.texts(&tenant.database_name(), identity).await;
        assert_eq!(identity, [tenant.to_string()]);
    }
    assert_eq!(spares(&app, "claimed").await, Vec::<String>::new());
}

/// What is left where a process dies between the claim and the rename.
#[tokio::test]
async fn a_spare_that_was_claimed_is_used_by_whoever_goes_on() {
    let app = TestApp::start_with(TWO()).await;
    two_are_ready(&app).await;
    let db = app.registry.connect().await.unwrap();
    // Nobody takes the run up before.
    let transaction = db.begin().await.unwrap();
    let planned = app.provisioner.plan(&transaction, &new_tenant()).await.unwrap();
    let template = template::name(app.registry.server());
    let newest = migrating::newest::<tenant_migrations::Migrator>();
    let wanted =
        TemplateVersion { server: REGISTRY_SERVER, template: &template, schema_version: &newest };
    let claim = async || {
        warm_databases::claim(&transaction, planned.tenant_id, &wanted).await.unwrap().unwrap()
    };
    let claimed = claim().await;
    assert_eq!(claimed, claim().await);
    transaction.commit().await.unwrap();
    let before = oid(&app, &claimed.name).await;
    let made = app.provisioner.finish(planned).await.unwrap();
    assert_eq!(oid(&app, &made.tenant_id.database_name()).await, before);
    assert_eq!(spares(&app, "claimed").await, Vec::<String>::new());
}

/// No spare was ready when the database was copied; one is when the run is taken up again.
#[tokio::test]
async fn a_tenant_that_has_its_database_takes_no_spare() {
    let died = AtomicBool::new(false);
    let dies: Failpoints = Arc::new(move |at, when| {
        let now = (at, when) == ("database", FailpointPosition::AfterEffect);
        (now && !died.swap(true, Ordering::SeqCst)).then_some(FailpointAction::Dies)
    });
    let settings: TestSettings =
        Box::new(|settings| settings.provisioning.lease = Duration::from_secs(4));
    let app = TestApp::interrupted(dies, settings).await;
    let started = app.provisioner.start(&new_tenant(), None).await.unwrap();
    let tenant = started.planned.tenant_id;
    eventually("it is copied", async || on_server(&app, tenant).await == 2).await;
    let replica = with_two(&app).await;
    two_are_ready(&replica).await;
    let before = spares(&app, "ready").await;
    started.outcome().await.unwrap();
    assert_eq!(spares(&app, "ready").await, before, "a spare was taken and left to nobody");
}

#[tokio::test]
async fn a_claimed_spare_goes_with_the_run_that_is_undone() {
    let fails: Failpoints = Arc::new(|at, when| {
        ((at, when) == ("database", FailpointPosition::BeforeEffect))
            .then_some(FailpointAction::FailsForGood)
    });
    let app = TestApp::interrupted(fails, TWO()).await;
    two_are_ready(&app).await;
    let db = app.registry.connect().await.unwrap();
    // Nobody takes the run up before.
    let transaction = db.begin().await.unwrap();
    let planned = app.provisioner.plan(&transaction, &new_tenant()).await.unwrap();
    let name = spares(&app, "ready").await.remove(0);
    let claim = format!(
        "UPDATE spare_databases SET state = 'claimed', claimed_by = '{}' WHERE name = '{name}'",
        planned.tenant_id
    );
    transaction.execute_unprepared(&claim).await.unwrap();
    transaction.commit().await.unwrap();
    app.provisioner.finish(planned).await.unwrap_err();
    assert_eq!(oid(&app, &name).await, Vec::<String>::new());
    assert_eq!((on_server(&app, planned.tenant_id).await, things(&app).await), (0, 0));
}

#[tokio::test]
async fn a_spare_of_another_schema_or_template_is_never_claimed() {
    let app = TestApp::start_with(TWO()).await;
    two_are_ready(&app).await;
    app.registry_execute(
        "UPDATE spare_databases SET schema_version = 'm0', template = 'narthex_template_0'",
    )
    .await;
    let old = spares(&app, "ready").await;
    let made = run(&app.provisioner, &new_tenant()).await.0.unwrap();
    assert_eq!(oid(&app, &made.tenant_id.database_name()).await.len(), 1);
    // A replica of the older version may want them, for an hour; then nobody.
    eventually("two others are ready", async || spares(&app, "ready").await.len() == 4).await;
    app.clock.advance(chrono::TimeDelta::hours(2));
    for name in old {
        eventually("it is gone", async || oid(&app, &name).await.is_empty()).await;
    }
}

#[tokio::test]
async fn what_its_maker_left_half_made_is_removed() {
    let app = TestApp::start_with(TWO()).await;
    two_are_ready(&app).await;
    let name = format!("{WARM_PREFIX}{}", uuid::Uuid::new_v4().simple());
    let half = spares(&app, "ready").await.remove(0);
    let row = format!(
        "INSERT INTO spare_databases SELECT '{name}', server_id, template, schema_version, 'making', NULL, now()
         FROM spare_databases WHERE name = '{half}'"
    );
    app.registry_execute(&row).await;
    app.cluster.execute("postgres", &format!("CREATE DATABASE {name}")).await;
    let db = app.registry.connect().await.unwrap();
    assert!(warm_databases::change_state(&db, &half, State::Ready, State::Removing).await.unwrap());
    eventually("both are gone", async || {
        oid(&app, &name).await.is_empty() && oid(&app, &half).await.is_empty()
    })
    .await;
    two_are_ready(&app).await;
}

/// Somebody has had a hand in the template.
#[tokio::test]
async fn a_copy_that_is_not_what_it_should_be_never_waits_for_a_tenant() {
    let cluster = own_cluster().await;
    let app = TestApp::start_on(TestCluster::of(&cluster), Box::new(|_| {})).await;
    let template = template::name(app.registry.server());
    app.fleet.prepare().await.unwrap();
    let open = |is_open| format!("ALTER DATABASE {template} WITH ALLOW_CONNECTIONS {is_open}");
    app.cluster.execute("postgres", &open(true)).await;
    let newest =
        "DELETE FROM seaql_migrations WHERE version = (SELECT max(version) FROM seaql_migrations)";
    app.cluster.execute(&template, newest).await;
    app.cluster.execute("postgres", &open(false)).await;
    let replica = with_two(&app).await;
    eventually("it is seen", async || {
        let made = replica.fleet.top_up_warm_databases().await;
        matches!(made, Err(WarmDatabaseError::WrongSchema { .. }))
    })
    .await;
    assert_eq!(spares(&app, "ready").await, Vec::<String>::new());
}

/// No tenant will ever get them.
#[tokio::test]
async fn spares_of_a_server_that_takes_no_tenants_are_removed() {
    let app = TestApp::start_with(TWO()).await;
    two_are_ready(&app).await;
    let useless = spares(&app, "ready").await;
    app.registry_execute("UPDATE database_servers SET state = 'draining'").await;
    eventually("they are gone", async || {
        app.registry_count("SELECT count(*) FROM spare_databases").await == 0
    })
    .await;
    for name in useless {
        assert_eq!(oid(&app, &name).await, Vec::<String>::new());
    }
    app.registry_execute("UPDATE database_servers SET state = 'active'").await;
    two_are_ready(&app).await;
}

/// With a single one, whoever held it would wait for itself.
#[tokio::test]
async fn no_connection_to_the_registry_is_held_while_a_spare_is_dropped() {
    let app = TestApp::start_with(TWO()).await;
    two_are_ready(&app).await;
    app.life.stop();
    let mut settings = app.settings.clone();
    settings.registry.max_connections = 1;
    let lone = App::open(settings, Clock::system()).await.unwrap();
    app.registry_execute("UPDATE database_servers SET state = 'draining'").await;
    eventually("both are gone", async || {
        lone.fleet.top_up_warm_databases().await.unwrap();
        app.registry_count("SELECT count(*) FROM spare_databases").await == 0
    })
    .await;
    lone.close().await;
}
