//! The template is made once, whoever asks for it, and again when it is lost.

use narthex::fleet::template;
use narthex::postgres::migrating;
use narthex::registry::tenants::{self, Status};
use narthex::tenant_data::seed::verify_seed;
use rstest::rstest;
use sea_orm::{TransactionSession, TransactionTrait};
use sea_orm_migration::MigratorTrait;
use tenant_migrations::Migrator;

use crate::provisioning::{new_tenant, on_server, run, things};
use crate::support::{TestApp, TestCluster, TestSettings, eventually, own_cluster};

#[tokio::test]
async fn eight_registrations_at_once_make_the_template_and_eight_databases() {
    let cluster = own_cluster().await;
    let patient: TestSettings = Box::new(|settings| {
        settings.provisioning.wait = std::time::Duration::from_secs(60);
        settings.http.request_timeout = std::time::Duration::from_secs(60);
    });
    let app = TestApp::start_on(TestCluster::of(&cluster), patient).await;
    let staff = futures_util::future::join_all((0..8).map(|_| app.register())).await;
    for staff in &staff {
        let identity = "SELECT tenant_id::text FROM tenant_identity";
        let identity = app.cluster.texts(&staff.database(), identity).await;
        assert_eq!(identity, [staff.tenant_id.to_string()]);
    }
    let count =
        |like: &str| format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{like}'");
    assert_eq!(app.cluster.count("postgres", &count("narthex_template_%")).await, 1);
    assert_eq!(app.cluster.count("postgres", &count("tenant_%")).await, 8);
}

#[tokio::test]
async fn the_template_is_made_once_and_again_when_it_is_lost() {
    let cluster = own_cluster().await;
    let app = TestApp::start_on(TestCluster::of(&cluster), Box::new(|_| {})).await;
    let name = template::name(app.registry.server());
    let templates = async || {
        let sql = "SELECT oid::text FROM pg_database WHERE datname LIKE 'narthex_template_%'";
        app.cluster.texts("postgres", sql).await
    };
    let server = app.registry.server();
    // What a process that was killed in the middle leaves behind.
    app.cluster.execute("postgres", &format!("CREATE DATABASE {name}_draft")).await;
    app.cluster.execute(&format!("{name}_draft"), "CREATE TABLE roles (half int)").await;

    let ensured = futures_util::future::join_all((0..4).map(|_| template::ensure(server))).await;
    assert!(ensured.iter().all(Result::is_ok), "{ensured:?}");
    let first = templates().await;
    assert_eq!(first.len(), 1);
    template::ensure(server).await.unwrap();
    assert_eq!(templates().await, first, "it was made anew for nothing");
    let open =
        format!("SELECT count(*) FROM pg_database WHERE datname = '{name}' AND datallowconn");
    assert_eq!(app.cluster.count("postgres", &open).await, 0);
    run(&app.provisioner, &new_tenant()).await.0.unwrap();

    app.cluster.execute("postgres", &format!("DROP DATABASE {name}")).await;
    run(&app.provisioner, &new_tenant()).await.0.unwrap();
    assert_ne!(templates().await, first);
}

#[expect(clippy::disallowed_methods, reason = "this is a migration")]
async fn take_the_newest_back(url: &str) {
    let database = sea_orm::Database::connect(url).await.unwrap();
    Migrator::down(&database, Some(1)).await.unwrap();
    database.close().await.unwrap();
}

/// During an upgrade one program may have made the copy, and another goes on with the run.
#[rstest]
#[case::by_an_earlier_program(-1)]
#[case::by_a_later_program(1)]
#[tokio::test]
async fn a_copy_made_by_another_version_of_the_program_becomes_a_whole_tenant(#[case] by: i64) {
    let app = TestApp::start().await;
    let db = app.registry.connect().await.unwrap();
    let transaction = db.begin().await.unwrap();
    let planned = app.provisioner.plan(&transaction, &new_tenant()).await.unwrap();
    let (name, server) = (planned.tenant_id.database_name(), app.registry.server());
    template::ensure(server).await.unwrap();
    let mut administration = server.administer().await.unwrap();
    administration.copy_database(&template::name(server), &name).await.unwrap();
    administration.open_to_administration(&name).await.unwrap();
    administration.close().await;
    let mut expected = migrating::newest::<Migrator>();
    if by < 0 {
        take_the_newest_back(&app.cluster.url(&name)).await;
    } else {
        expected = "m29991231_000001_of_the_future".to_owned();
        let later = format!("INSERT INTO seaql_migrations VALUES ('{expected}', 0)");
        app.cluster.execute(&name, &later).await;
    }
    transaction.commit().await.unwrap();
    drop(db);
    app.provisioner.finish(planned).await.unwrap();
    let newest = "SELECT max(version) FROM seaql_migrations";
    assert_eq!(app.cluster.texts(&name, newest).await, [expected.clone()]);
    let db = app.registry.connect().await.unwrap();
    let tenant = tenants::find(&db, planned.tenant_id).await.unwrap().unwrap();
    assert_eq!((tenant.status, tenant.schema_version), (Status::Active, expected));
    verify_seed(&app.tenant_db(planned.tenant_id).await).await.unwrap();
}

/// Somebody has had a hand in the template: no tenant is served that lacks what every tenant has.
#[tokio::test]
async fn a_tenant_that_lacks_something_is_not_activated() {
    let cluster = own_cluster().await;
    let app = TestApp::start_on(TestCluster::of(&cluster), Box::new(|_| {})).await;
    app.fleet.prepare().await.unwrap();
    let name = template::name(app.registry.server());
    let open = |is_open| format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {is_open}");
    app.cluster.execute("postgres", &open(true)).await;
    app.cluster.execute(&name, "DELETE FROM settings").await;
    app.cluster.execute("postgres", &open(false)).await;
    let (outcome, ended, _) = run(&app.provisioner, &new_tenant()).await;
    let failure = outcome.unwrap_err().to_string();
    assert!(failure.starts_with("the step `preseed` failed: the tenant lacks"), "{failure}");
    assert_eq!(things(&app).await, 0);
    assert_eq!(on_server(&app, ended.tenant_id).await, 0);
}

/// Copies load a server: a third one waits, whoever makes the first two.
#[tokio::test]
async fn no_more_than_two_copies_are_made_at_once() {
    let cluster = own_cluster().await;
    let app = TestApp::start_on(TestCluster::of(&cluster), Box::new(|_| {})).await;
    app.fleet.prepare().await.unwrap();
    let mut busy = app.cluster.connect("postgres").await;
    // "nart", and the numbers of the two places.
    let both = "SELECT pg_advisory_lock(1851880052, 0), pg_advisory_lock(1851880052, 1)";
    sqlx::Executor::execute(&mut busy, both).await.unwrap();
    let started = app.provisioner.start(&new_tenant(), None).await.unwrap();
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = 1851880052";
    eventually("it waits", async || app.cluster.count("postgres", waits).await == 1).await;
    assert_eq!(on_server(&app, started.planned.tenant_id).await, 1, "its role");
    sqlx::Connection::close(busy).await.unwrap();
    started.outcome().await.unwrap();
}
