//! One tenant's role and password open no other tenant's database, at whatever moment they are tried.

use std::time::Duration;

use narthex::fleet::template;
use narthex::identifiers::TenantId;
use narthex::postgres::administration::{AdminServer, ServerLock};
use narthex::provisioning::Planned;
use rstest::rstest;
use sea_orm::{ConnectionTrait, TransactionSession, TransactionTrait};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::provisioning::{new_tenant, run};
use crate::support::{Staff, TestApp, TestCluster, TestSettings, eventually, unique};
use narthex::sealing::aad;

const TWO: fn() -> TestSettings = || Box::new(|settings| settings.provisioning.spares = 2);

/// The login of a tenant's own role.
async fn login_of(app: &TestApp, tenant: TenantId) -> PgConnectOptions {
    let row = app.router.directory().tenant(tenant).await.unwrap().unwrap();
    let sealed = app.registry.sealer().open(&aad::tenant_password(tenant), &row.sealed_password);
    let password = String::from_utf8(sealed.unwrap().clone()).unwrap();
    app.cluster.options("postgres").username(&row.role_name).password(&password)
}

/// Waits for the creation of a database and stops the server's administration directly after it: no right on any database
/// changes until the connection is closed.
async fn halt_after_creation_of(cluster: &TestCluster, name: &str) -> PgConnection {
    let mut observer = cluster.connect("postgres").await;
    let creation = format!(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'CREATE DATABASE \"{name}\"%')
              + (SELECT count(*) FROM pg_database WHERE datname = '{name}')"
    );
    let begun = std::time::Instant::now();
    while observer.fetch_one(sqlx::AssertSqlSafe(creation.clone())).await.unwrap().get::<i64, _>(0)
        == 0
    {
        assert!(begun.elapsed() < Duration::from_secs(30), "{name} is not created");
    }
    // Stands in line behind the creation, and before what comes after it.
    observer.execute("BEGIN; LOCK TABLE pg_database IN SHARE MODE").await.unwrap();
    let is_there = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(cluster.count("postgres", &is_there).await, 1, "{name} is not created");
    observer
}

/// Nobody but the administration gets in, and nobody is left in it.
async fn refuses(login: &PgConnectOptions, database: &str) {
    let refused = PgConnection::connect_with(&login.clone().database(database)).await;
    let code = refused.map(drop).expect_err("it lets another tenant's role in");
    let code = code.as_database_error().unwrap().code().unwrap().into_owned();
    assert!(["42501", "55000"].contains(&&*code), "{code}");
}

/// A tenant that nobody makes yet.
async fn planned(app: &TestApp) -> Planned {
    let db = app.registry.connect().await.unwrap();
    let transaction = db.begin().await.unwrap();
    let planned = app.provisioner.plan(&transaction, &new_tenant()).await.unwrap();
    // Begun by the test, or soon by the job.
    transaction.commit().await.unwrap();
    planned
}

#[tokio::test]
async fn a_copy_for_a_new_tenant_lets_no_other_role_in() {
    let app = TestApp::start().await;
    let login = login_of(&app, app.register().await.tenant_id).await;
    let planned = planned(&app).await;
    let name = planned.tenant_id.database_name();
    let (halted, started) = tokio::join!(halt_after_creation_of(&app.cluster, &name), async {
        app.provisioner.begin(planned)
    });
    refuses(&login, &name).await;
    halted.close().await.unwrap();
    started.outcome().await.unwrap();
    refuses(&login, &name).await;
}

#[tokio::test]
async fn a_warm_database_lets_no_other_role_in_while_it_is_made() {
    let app = TestApp::start().await;
    let login = login_of(&app, app.register().await.tenant_id).await;
    let mut settings = app.settings.clone();
    settings.provisioning.spares = 1;
    let replica = TestApp::open_registry(
        app.cluster.clone(),
        app.registry_database.clone(),
        Box::new(move |own| *own = settings),
    )
    .await;
    let making = "SELECT name FROM spare_databases WHERE state = 'making'";
    let mut name = Vec::new();
    while name.is_empty() {
        name = app.cluster.texts(&app.registry_database, making).await;
    }
    let halted = halt_after_creation_of(&app.cluster, &name[0]).await;
    refuses(&login, &name[0]).await;
    halted.close().await.unwrap();
    eventually("it is ready", async || {
        app.registry_count("SELECT count(*) FROM spare_databases WHERE state = 'ready'").await == 1
    })
    .await;
    refuses(&login, &name[0]).await;
    drop(replica);
}

#[tokio::test]
async fn the_draft_of_the_template_lets_no_other_role_in() {
    let app = TestApp::start().await;
    let login = login_of(&app, app.register().await.tenant_id).await;
    // Another administrator has a template of its own.
    let another = format!("administrator_{}", unique());
    let role = format!("CREATE ROLE {another} SUPERUSER LOGIN PASSWORD 'administrator'");
    app.cluster.execute("postgres", &role).await;
    let options = app.cluster.options("postgres").username(&another).password("administrator");
    let server = AdminServer::new(options, Duration::from_secs(10));
    let draft = format!("{}_draft", template::name(&server));
    let (halted, made) = tokio::join!(
        async {
            let halted = halt_after_creation_of(&app.cluster, &draft).await;
            refuses(&login, &draft).await;
            halted.close().await.unwrap();
        },
        template::ensure(&server)
    );
    let () = halted;
    made.unwrap();
    refuses(&login, &template::name(&server)).await;
}

/// Names of the spares that are ready, oldest first.
async fn two_ready(app: &TestApp) -> Vec<String> {
    let sql = "SELECT name FROM spare_databases WHERE state = 'ready' ORDER BY created_at";
    eventually("two are ready", async || {
        app.cluster.texts(&app.registry_database, sql).await.len() == 2
    })
    .await;
    app.cluster.texts(&app.registry_database, sql).await
}

async fn open(cluster: &TestCluster, name: &str, is_open: bool) {
    let sql = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {is_open}");
    cluster.execute("postgres", &sql).await;
}

#[rstest]
#[case::an_owner(
    "INSERT INTO staff SELECT gen_random_uuid(), 'mallory@example.org', '', 'M', 'M', 'owner', 'active', false, NULL, now(), now()"
)]
#[case::more_rights(
    "UPDATE roles SET permissions = permissions || '{staff:manage}' WHERE name = 'viewer'"
)]
#[case::a_role(
    "INSERT INTO roles (id, name, permissions) VALUES (gen_random_uuid(), 'mine', '{}')"
)]
#[case::a_setting("UPDATE settings SET value = '\"xx\"' WHERE key = 'locale'")]
#[case::a_large_object("SELECT lo_create(0)")]
#[case::a_table_of_their_own("CREATE TABLE notes AS SELECT 1 AS note")]
#[tokio::test]
async fn a_warm_database_in_which_somebody_has_written_is_dropped_and_another_taken(
    #[case] what: &str,
) {
    let app = TestApp::start_with(TWO()).await;
    let spares = two_ready(&app).await;
    let written_into = written_into(&app, &spares, what).await;
    let staff = app.register().await;
    let owners = "SELECT email || ' ' || role FROM staff";
    let owners = app.cluster.texts(&staff.database(), owners).await;
    assert_eq!(owners, [format!("{} owner", staff.email)]);
    let written = "SELECT (SELECT count(*) FROM roles WHERE name = 'mine' OR name = 'viewer' AND 'staff:manage' = ANY (permissions))
        + (SELECT count(*) FROM settings WHERE value = '\"xx\"') + (SELECT count(*) FROM pg_largeobject_metadata)";
    assert_eq!(app.cluster.count(&staff.database(), written).await, 0);
    eventually("they are gone", async || app.cluster.count("postgres", &written_into).await == 0)
        .await;
}

/// Writes into spares; returns how to count those that are still there, by whatever name.
async fn written_into(app: &TestApp, spares: &[String], what: &str) -> String {
    let mut oids = Vec::new();
    for name in spares {
        open(&app.cluster, name, true).await;
        app.cluster.execute(name, what).await;
        open(&app.cluster, name, false).await;
        let oid = format!("SELECT oid::text FROM pg_database WHERE datname = '{name}'");
        oids.extend(app.cluster.texts("postgres", &oid).await);
    }
    format!("SELECT count(*) FROM pg_database WHERE oid IN ({})", oids.join(", "))
}

/// A drop can wait for a checkpoint of the whole server.
#[tokio::test]
async fn no_registration_waits_for_the_drop_of_a_warm_database() {
    let app = TestApp::start_with(TWO()).await;
    let spares = two_ready(&app).await;
    let written_into = written_into(&app, &spares, "CREATE TABLE notes AS SELECT 1 AS note").await;
    // Another process removes spares, for as long as this connection is there.
    let mut remover = app.cluster.connect("postgres").await;
    let lock = format!("SELECT pg_advisory_lock({}, {})", 0x6e61_7274, ServerLock::Spares as i32);
    remover.execute(sqlx::AssertSqlSafe(lock)).await.unwrap();
    let staff = app.register().await;
    staff.get("/v1/members").await.expect(200);
    assert_eq!(app.cluster.count("postgres", &written_into).await, 2, "one was dropped meanwhile");
    let closed = format!("{written_into} AND NOT datallowconn AND datname LIKE 'narthex_spare_%'");
    assert_eq!(app.cluster.count("postgres", &closed).await, 2);
    let removing =
        "SELECT count(*) FROM spare_databases WHERE state = 'removing' AND claimed_by IS NULL";
    assert_eq!(app.registry_count(removing).await, 2);
    assert_eq!(found(&app).await, [], "what is set aside is known");
    remover.close().await.unwrap();
    eventually("both are gone", async || {
        app.cluster.count("postgres", &written_into).await + app.registry_count(removing).await == 0
    })
    .await;
}

/// The process has died after it wrote down under which name it sets the database aside, before or after the renaming.
#[rstest]
#[tokio::test]
async fn what_was_set_aside_halfway_is_removed_by_the_next_attempt(
    #[values(true, false)] is_renamed: bool,
) {
    let app = TestApp::start_with(TWO()).await;
    let spare = two_ready(&app).await.remove(0);
    let written_into =
        written_into(&app, std::slice::from_ref(&spare), "CREATE TABLE notes AS SELECT 1 AS note")
            .await;
    let db = app.registry.connect().await.unwrap();
    // Nobody takes the run up before.
    let transaction = db.begin().await.unwrap();
    let planned = app.provisioner.plan(&transaction, &new_tenant()).await.unwrap();
    let tenant = planned.tenant_id;
    let claim = format!(
        "UPDATE spare_databases SET state = 'claimed', claimed_by = '{tenant}' WHERE name = '{spare}'"
    );
    transaction.execute_unprepared(&claim).await.unwrap();
    if !is_renamed {
        let rename = format!("ALTER DATABASE {spare} RENAME TO {}", tenant.database_name());
        app.cluster.execute("postgres", &rename).await;
    }
    transaction.commit().await.unwrap();
    app.provisioner.finish(planned).await.unwrap();
    let notes = "SELECT count(*) FROM pg_class WHERE relname = 'notes'";
    assert_eq!(app.cluster.count(&tenant.database_name(), notes).await, 0);
    eventually("it is gone", async || {
        let rows =
            "SELECT count(*) FROM spare_databases WHERE state <> 'ready' AND state <> 'making'";
        app.cluster.count("postgres", &written_into).await + app.registry_count(rows).await == 0
    })
    .await;
    assert_eq!(found(&app).await, []);
}

/// A session of another tenant's role in a database: as if it had come in through a window.
async fn sit_in(app: &TestApp, intruder: &PgConnectOptions, name: &str) -> PgConnection {
    let role = intruder.get_username();
    app.cluster.execute("postgres", &format!("GRANT CONNECT ON DATABASE {name} TO {role}")).await;
    open(&app.cluster, name, true).await;
    let session = PgConnection::connect_with(&intruder.clone().database(name)).await.unwrap();
    app.cluster
        .execute("postgres", &format!("REVOKE CONNECT ON DATABASE {name} FROM {role}"))
        .await;
    session
}

#[tokio::test]
async fn whoever_sits_in_all_warm_databases_holds_no_registration_up_and_is_put_out() {
    let app = TestApp::start_with(TWO()).await;
    let login = login_of(&app, app.register().await.tenant_id).await;
    let mut sessions = Vec::new();
    for name in two_ready(&app).await {
        sessions.push(sit_in(&app, &login, &name).await);
        open(&app.cluster, &name, false).await;
    }
    let begun = std::time::Instant::now();
    let staff = app.register().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    staff.get("/v1/members").await.expect(200);
    sessions[0].execute("SELECT 1").await.expect_err("it is still in there");
}

async fn found(app: &TestApp) -> Vec<(String, String)> {
    let found = app.fleet.reconciler().reconcile().await.unwrap();
    found.into_iter().map(|finding| (finding.kind.name().to_owned(), finding.name)).collect()
}

async fn repair(app: &TestApp, staff: &Staff) {
    let row = app.router.directory().tenant(staff.tenant_id).await.unwrap().unwrap();
    let origin = narthex::audit::Actor::command("test").into();
    let planned = app.provisioner.repair(&row, None, false, &origin).await.unwrap();
    app.provisioner.finish(planned).await.unwrap();
}

#[tokio::test]
async fn a_database_that_others_may_enter_or_are_in_is_found_and_mended() {
    let app = TestApp::start_with(TWO()).await;
    let (a, b) = (app.register().await, app.register().await);
    let spare = two_ready(&app).await.remove(0);
    let (name, login) = (a.database(), login_of(&app, b.tenant_id).await);
    assert_eq!(found(&app).await, []);
    let open_finding = |name: &str| vec![("open_database".to_owned(), name.to_owned())];
    for grantee in ["PUBLIC", "narthex_tenant", login.get_username()] {
        let sql = format!("GRANT CONNECT ON DATABASE {name} TO {grantee}");
        app.cluster.execute("postgres", &sql).await;
        assert_eq!(found(&app).await, open_finding(&name), "{grantee}");
        let sql = format!("REVOKE CONNECT ON DATABASE {name} FROM {grantee}");
        app.cluster.execute("postgres", &sql).await;
    }
    let mut session = sit_in(&app, &login, &name).await;
    app.cluster.execute("postgres", &format!("GRANT CONNECT ON DATABASE {name} TO PUBLIC")).await;
    repair(&app, &a).await;
    session.execute("SELECT 1").await.expect_err("it is still in there");
    assert_eq!(found(&app).await, []);
    a.get("/v1/members").await.expect(200);

    let sql = format!("GRANT CONNECT ON DATABASE {spare} TO PUBLIC");
    app.cluster.execute("postgres", &sql).await;
    assert_eq!(found(&app).await, [], "it is closed");
    open(&app.cluster, &spare, true).await;
    assert_eq!(found(&app).await, open_finding(&spare));
}

#[tokio::test]
async fn a_tenants_role_has_a_limit_on_its_connections_and_an_older_one_gets_it() {
    let app = TestApp::start().await;
    let made = run(&app.provisioner, &new_tenant()).await.0.unwrap();
    let role = made.tenant_id.database_name();
    let limit = format!("SELECT rolconnlimit::bigint FROM pg_roles WHERE rolname = '{role}'");
    assert_eq!(app.cluster.count("postgres", &limit).await, 30);
    for (before, after) in [(-1, 30), (7, 30), (300, 300)] {
        let sql = format!("ALTER ROLE {role} CONNECTION LIMIT {before}");
        app.cluster.execute("postgres", &sql).await;
        eventually("it is the turn of this application", async || {
            app.fleet.reconciler().reconcile_exclusively().await.unwrap().is_some()
        })
        .await;
        assert_eq!(app.cluster.count("postgres", &limit).await, after);
    }
}
