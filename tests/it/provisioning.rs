//! A registration ends with a whole tenant or with nothing but its own history.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use narthex::identifiers::{Timezone, unguessable_id};
use narthex::provisioning::{
    CreatedTenant, Moment, NewRegistration, NotStarted, Provisioner, RunFailure, template,
};
use narthex::registry::provisioning_runs::{Run, RunStatus, Step, StepStatus};
use rstest::rstest;
use serde_json::json;

use crate::support::{Staff, TestApp, TestCluster, TestSettings, eventually, own_cluster};

const STEPS: [&str; 6] = ["reserve", "role", "database", "identity", "owner", "activate"];

/// A registration for an address that nobody has.
fn registration() -> NewRegistration {
    NewRegistration {
        organization_name: "Grace Chapel".to_owned(),
        slug: None,
        timezone: Timezone::UTC,
        email: format!("{}@example.org", unguessable_id().simple()).parse().unwrap(),
        password_hash: "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA".to_owned(),
        first_name: "Ada".to_owned(),
        last_name: "Lovelace".to_owned(),
    }
}

/// Runs a registration to its end; what it made, and its history.
async fn run(
    provisioner: &Provisioner,
    registration: NewRegistration,
) -> (Result<CreatedTenant, RunFailure>, Run, Vec<Step>) {
    let started = provisioner.start(registration).await.unwrap();
    let outcome = started.outcome.await.unwrap();
    let (run, steps) = provisioner.progress(started.registration_id).await.unwrap().unwrap();
    (outcome, run, steps)
}

/// Databases and roles of that name on the server.
async fn on_server(app: &TestApp, name: &str) -> i64 {
    let sql = format!(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname = '{name}')
              + (SELECT count(*) FROM pg_roles WHERE rolname = '{name}')"
    );
    app.cluster.count("postgres", &sql).await
}

async fn rows(app: &TestApp) -> i64 {
    app.registry_count("SELECT (SELECT count(*) FROM tenants) + (SELECT count(*) FROM email_index)")
        .await
}

#[rstest]
#[tokio::test]
async fn a_step_that_fails_for_good_leaves_nothing_behind(
    #[values("reserve", "role", "database", "identity", "owner", "activate")] step: &'static str,
    #[values(Moment::BeforeEffect, Moment::AfterEffect)] moment: Moment,
) {
    let app = TestApp::start().await;
    let broken =
        app.interrupted_provisioner(Arc::new(move |at, when| (at, when) == (step, moment)));
    let registration = registration();
    let (outcome, run_row, steps) = run(&broken, registration.clone()).await;
    assert!(matches!(outcome, Err(RunFailure::Broken { step: at, .. }) if at == step));
    assert_eq!(run_row.status, RunStatus::Failed);
    assert_eq!(run_row.error_code.as_deref(), Some("provisioning_failed"));
    assert!(run_row.finished_at.is_some());
    let position = STEPS.iter().position(|name| *name == step).unwrap();
    let expected: Vec<(&str, StepStatus)> = STEPS
        .iter()
        .enumerate()
        .map(|(i, name)| {
            (*name, if i <= position { StepStatus::Compensated } else { StepStatus::Pending })
        })
        .collect();
    let found: Vec<(&str, StepStatus)> =
        steps.iter().map(|s| (s.name.as_str(), s.status)).collect();
    assert_eq!(found, expected);
    let name = narthex::identifiers::TenantId(run_row.tenant_id).database_name();
    assert_eq!((on_server(&app, &name).await, rows(&app).await), (0, 0));

    let (outcome, run_row, _) = run(&app.provisioner, registration).await;
    let made = outcome.unwrap();
    assert_eq!(run_row.status, RunStatus::Completed);
    assert_eq!((on_server(&app, &made.tenant_id.database_name()).await, rows(&app).await), (2, 2));
}

#[rstest]
#[tokio::test]
async fn a_step_that_fails_once_is_done_again(
    #[values("reserve", "role", "database", "identity", "owner", "activate")] step: &'static str,
    #[values(Moment::BeforeEffect, Moment::AfterEffect)] moment: Moment,
) {
    let app = TestApp::start().await;
    let failures = AtomicUsize::new(0);
    let flaky = app.interrupted_provisioner(Arc::new(move |at, when| {
        (at, when) == (step, moment) && failures.fetch_add(1, Ordering::SeqCst) == 0
    }));
    let (outcome, run_row, steps) = run(&flaky, registration()).await;
    let made = outcome.unwrap();
    assert_eq!((run_row.status, run_row.error_code), (RunStatus::Completed, None));
    for found in steps {
        assert_eq!(found.status, StepStatus::Completed, "{}", found.name);
        assert_eq!(found.attempts, if found.name == step { 2 } else { 1 }, "{}", found.name);
    }
    let database = made.tenant_id.database_name();
    assert_eq!((on_server(&app, &database).await, rows(&app).await), (2, 2));
    assert_eq!(app.cluster.count(&database, "SELECT count(*) FROM staff").await, 1);
    assert_eq!(app.cluster.count(&database, "SELECT count(*) FROM tenant_identity").await, 1);
    app.tenant_db(made.tenant_id).await;
}

#[tokio::test]
async fn a_registration_that_fails_can_be_read_and_names_nothing_internal() {
    let app = TestApp::start().await;
    let broken = app.interrupted_provisioner(Arc::new(|at, _| at == "owner"));
    let started = broken.start(registration()).await.unwrap();
    started.outcome.await.unwrap().unwrap_err();
    let path = format!("/v1/registrations/{}", started.registration_id);
    let document = app.call(reqwest::Method::GET, &path, None).await.expect(200);
    assert_eq!((&document["status"], &document["tenant_id"]), (&json!("failed"), &json!(null)));
    assert_eq!(document["error"]["code"], "provisioning_failed");
    assert!(!document.to_string().contains("interrupted"), "{document}");
}

#[tokio::test]
async fn two_registrations_of_one_email_at_once_end_in_one_tenant() {
    let app = TestApp::start().await;
    let (first, mut second) = (registration(), registration());
    second.email = first.email.clone();
    let (a, b) = tokio::join!(run(&app.provisioner, first), run(&app.provisioner, second));
    let refused = [&a, &b].into_iter().find(|(outcome, ..)| outcome.is_err()).unwrap();
    assert_eq!(refused.1.error_code.as_deref(), Some("email_taken"));
    assert_eq!(rows(&app).await, 2);
    let name = narthex::identifiers::TenantId(refused.1.tenant_id).database_name();
    assert_eq!(on_server(&app, &name).await, 0);
}

/// Rights of tenant `a`'s role, as the server sees them.
async fn may(app: &TestApp, a: &Staff, what: &str) -> bool {
    let sql =
        format!("SELECT ({})::int::bigint", what.replace("$role", &format!("'{}'", a.database())));
    app.cluster.count(&a.database(), &sql).await == 1
}

#[tokio::test]
async fn a_tenants_role_may_do_what_it_needs_and_nothing_more() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    let (own, others) = (a.database(), b.database());
    for (right, expected) in [
        (format!("has_database_privilege($role, '{own}', 'CONNECT')"), true),
        (format!("has_database_privilege($role, '{own}', 'TEMPORARY')"), false),
        (format!("has_database_privilege($role, '{own}', 'CREATE')"), false),
        (format!("has_database_privilege($role, '{others}', 'CONNECT')"), false),
        ("has_database_privilege($role, 'postgres', 'CONNECT')".to_owned(), false),
        ("has_database_privilege($role, 'template1', 'CONNECT')".to_owned(), false),
        ("has_schema_privilege($role, 'public', 'CREATE')".to_owned(), false),
        ("has_table_privilege($role, 'members', 'INSERT')".to_owned(), true),
        ("has_table_privilege($role, 'members', 'TRUNCATE')".to_owned(), false),
        ("has_table_privilege($role, 'tenant_identity', 'SELECT')".to_owned(), true),
        ("has_table_privilege($role, 'tenant_identity', 'UPDATE')".to_owned(), false),
        ("has_table_privilege($role, 'tenant_identity', 'DELETE')".to_owned(), false),
        ("has_table_privilege($role, 'seaql_migrations', 'SELECT')".to_owned(), false),
        (
            "EXISTS (SELECT FROM pg_roles WHERE rolname = $role
                     AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls))"
                .to_owned(),
            false,
        ),
    ] {
        assert_eq!(may(&app, &a, &right).await, expected, "{right}");
    }
    let group = "SELECT count(*) FROM pg_database d, aclexplode(d.datacl) acl
        WHERE acl.grantee = 'narthex_tenant'::regrole";
    assert_eq!(app.cluster.count("postgres", group).await, 0, "the group may connect somewhere");
    let verifier = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{own}'");
    let verifier = &app.cluster.texts("postgres", &verifier).await[0];
    assert!(verifier.starts_with("SCRAM-SHA-256$4096:"), "{verifier}");
}

#[tokio::test]
async fn a_new_database_knows_its_tenant_its_roles_and_its_owner() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let texts = async |sql: &str| app.cluster.texts(&staff.database(), sql).await;
    let identity = texts("SELECT tenant_id::text FROM tenant_identity").await;
    assert_eq!(identity, [staff.tenant_id.to_string()]);
    let roles = texts("SELECT name || ' ' || array_length(permissions, 1) FROM roles WHERE built_in ORDER BY name").await;
    assert_eq!(roles, ["admin 7", "editor 5", "owner 9", "viewer 2"]);
    let owner = texts("SELECT email || ' ' || role || ' ' || status FROM staff").await;
    assert_eq!(owner, [format!("{} owner active", staff.email)]);
    let hash = &texts("SELECT password_hash FROM staff").await[0];
    let hash = PasswordHash::new(hash).unwrap();
    assert_eq!(hash.algorithm.as_str(), "argon2id");
    assert!(!app.cluster.holds(&staff.database(), &staff.password).await);
}

#[tokio::test]
async fn the_registry_knows_neither_email_nor_password() {
    let app = TestApp::start().await;
    let mut body = app.registration();
    body["email"] = json!("ada.lovelace@poetical.science");
    let made = app.call(reqwest::Method::POST, "/v1/auth/register", Some(body.clone())).await;
    let made = made.expect(201);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let registry = &app.registry_database;
    assert!(app.cluster.holds(registry, &text(&made["tenant"]["id"])).await);
    for secret in [
        "ada.lovelace@poetical.science",
        "lovelace",
        "Lovelace",
        "poetical",
        &text(&body["password"]),
        &text(&made["access_token"]),
        &text(&made["refresh_token"]),
    ] {
        assert!(!app.cluster.holds(registry, secret).await, "`{secret}` is in the registry");
    }
}

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
    run(&app.provisioner, registration()).await.0.unwrap();

    app.cluster.execute("postgres", &format!("DROP DATABASE {name}")).await;
    run(&app.provisioner, registration()).await.0.unwrap();
    assert_ne!(templates().await, first);
}

#[tokio::test]
async fn who_finds_the_line_full_is_turned_away_and_nothing_is_written() {
    const PLACES: i64 = 32;
    let app = TestApp::start_with(Box::new(|settings| settings.provisioning.concurrency = 1)).await;
    let mut holder = app.cluster.connect(&app.registry_database).await;
    sqlx::Executor::execute(&mut holder, "BEGIN; LOCK TABLE tenants IN EXCLUSIVE MODE")
        .await
        .unwrap();
    for _ in 0..PLACES {
        app.provisioner.start(registration()).await.unwrap();
    }
    let written = async || {
        let runs = app.registry_count("SELECT count(*) FROM provisioning_runs").await;
        let steps = app.registry_count("SELECT count(*) FROM provisioning_steps").await;
        (runs, steps, rows(&app).await)
    };
    let full = (PLACES, PLACES * i64::try_from(STEPS.len()).unwrap(), 0);
    assert_eq!(written().await, full);
    let refused = app.provisioner.start(registration()).await.err();
    assert!(matches!(refused, Some(NotStarted::Busy)), "{refused:?}");
    let answer = app.call(reqwest::Method::POST, "/v1/auth/register", Some(app.registration()));
    answer.await.expect_problem(503, "busy");
    assert_eq!(written().await, full);
    sqlx::Executor::execute(&mut holder, "ROLLBACK").await.unwrap();
    eventually("a place is free again", async || {
        app.provisioner.start(registration()).await.is_ok()
    })
    .await;
}
