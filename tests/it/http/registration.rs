//! Registration over HTTP: many at once, races, and clients that do not wait.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::raw;
use crate::support::{Answer, Staff, TestApp, TestSettings, eventually, unique};

/// However slow the machine is: wait for the end of the registration.
fn patient() -> TestSettings {
    Box::new(|settings| {
        settings.provisioning.wait = Duration::from_secs(25);
        settings.http.request_timeout = Duration::from_secs(28);
    })
}

async fn register(app: &TestApp, registration: &Value) -> Answer {
    app.call(Method::POST, "/v1/auth/register", Some(registration.clone())).await
}

/// Databases and roles of the tenants that this registry ever tried to make.
async fn made(app: &TestApp) -> (i64, i64) {
    let runs = app
        .cluster
        .texts(&app.registry_database, "SELECT tenant_id::text FROM provisioning_runs")
        .await;
    let names =
        runs.iter().map(|id| format!("'tenant_{}'", id.replace('-', ""))).collect::<Vec<_>>();
    let names = names.join(",");
    let count = async |table: &str, column: &str| {
        let sql = format!("SELECT count(*) FROM {table} WHERE {column} IN ({names})");
        app.cluster.count("postgres", &sql).await
    };
    (count("pg_database", "datname").await, count("pg_roles", "rolname").await)
}

/// Fails unless one registration of several has left its tenant, and the others nothing.
async fn expect_one_tenant(app: &TestApp) {
    assert_eq!(made(app).await, (1, 1), "databases and roles");
    assert_eq!(app.registry_count("SELECT count(*) FROM tenants").await, 1);
    assert_eq!(app.registry_count("SELECT count(*) FROM email_index").await, 1);
    assert_eq!(app.registry_count("SELECT count(*) FROM tenants WHERE status = 'active'").await, 1);
}

#[tokio::test]
async fn twenty_tenants_at_once_get_twenty_databases_with_exactly_their_own_data() {
    let app = TestApp::start_with(patient()).await;
    let tenants: Vec<Staff> = join_all((0..20).map(|_| app.register())).await;
    join_all(tenants.iter().enumerate().map(async |(i, staff)| {
        staff.add_member(&format!("Member {i}"), "+13125550101").await;
    }))
    .await;
    let databases: BTreeSet<String> = tenants.iter().map(Staff::database).collect();
    assert_eq!(databases.len(), 20);
    assert_eq!(made(&app).await, (20, 20));
    for (i, staff) in tenants.iter().enumerate() {
        let texts = async |sql: &str| app.cluster.texts(&staff.database(), sql).await;
        assert_eq!(
            texts("SELECT tenant_id::text FROM tenant_identity").await,
            [staff.tenant_id.to_string()]
        );
        assert_eq!(
            texts("SELECT email || ' ' || role FROM staff").await,
            [format!("{} owner", staff.email)]
        );
        assert_eq!(texts("SELECT first_name FROM members").await, [format!("Member {i}")]);
        let list = staff.get("/v1/members").await.expect(200);
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
        assert_eq!(list["data"][0]["first_name"], format!("Member {i}"));
    }
    assert_eq!(
        app.registry_count("SELECT count(*) FROM tenants WHERE status = 'active'").await,
        20
    );
    assert_eq!(app.registry_count("SELECT count(DISTINCT email_hash) FROM email_index").await, 20);
}

#[tokio::test]
async fn of_two_registrations_with_one_email_one_wins_and_the_other_leaves_nothing() {
    let app = TestApp::start_with(patient()).await;
    let first = app.registration();
    let mut second = app.registration();
    // The same address, as people write it.
    second["email"] = json!(format!("  {} ", first["email"].as_str().unwrap().to_uppercase()));
    let (one, other) = tokio::join!(register(&app, &first), register(&app, &second));
    let (won, lost) = if one.status == 201 { (one, other) } else { (other, one) };
    let won = won.expect(201);
    lost.expect_problem(409, "email_taken");
    expect_one_tenant(&app).await;

    let failed = "SELECT id::text FROM provisioning_runs WHERE status = 'failed'";
    let failed = app.cluster.texts(&app.registry_database, failed).await.remove(0);
    let failed =
        app.call(Method::GET, &format!("/v1/registrations/{failed}"), None).await.expect(200);
    assert_eq!((&failed["status"], &failed["tenant_id"]), (&json!("failed"), &Value::Null));
    assert_eq!(failed["error"]["code"], "email_taken");
    assert_eq!(won["user"]["email"], first["email"]);
}

#[tokio::test]
async fn a_wanted_slug_is_given_once() {
    let app = TestApp::start_with(patient()).await;
    let slug = format!("church-{}", unique());
    let (mut first, mut second) = (app.registration(), app.registration());
    first["slug"] = json!(slug);
    second["slug"] = json!(slug);
    let (one, other) = tokio::join!(register(&app, &first), register(&app, &second));
    let (won, lost) = if one.status == 201 { (one, other) } else { (other, one) };
    assert_eq!(won.expect(201)["tenant"]["slug"], slug);
    lost.expect_problem(409, "slug_taken");
    expect_one_tenant(&app).await;
}

#[tokio::test]
async fn a_derived_slug_that_is_taken_gets_a_suffix() {
    let app = TestApp::start_with(patient()).await;
    let name = format!("St. Brigid's {}", unique());
    let plain = name.to_lowercase().replace("st. brigid's ", "st-brigids-");
    let mut slugs = BTreeSet::new();
    for _ in 0..3 {
        let mut registration = app.registration();
        registration["organization_name"] = json!(name);
        let made = register(&app, &registration).await.expect(201);
        slugs.insert(made["tenant"]["slug"].as_str().unwrap().to_owned());
    }
    assert_eq!(slugs.len(), 3);
    assert!(slugs.contains(&plain), "{slugs:?}");
    assert!(slugs.iter().all(|slug| slug.starts_with(&plain)), "{slugs:?}");
    // Of a name in another script nothing is left for a slug.
    let mut registration = app.registration();
    registration["organization_name"] = json!("東京教会");
    let made = register(&app, &registration).await.expect(201);
    assert!(made["tenant"]["slug"].as_str().unwrap().starts_with("organization-"));
    assert_eq!(made["tenant"]["organization_name"], "東京教会");
}

#[tokio::test]
async fn a_registration_answers_with_exactly_the_documented_fields() {
    let app = TestApp::start_with(patient()).await;
    let registration = app.registration();
    let answer = register(&app, &registration).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let made = answer.expect(201);
    let keys =
        |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        keys(&made),
        "access_token expires_in refresh_token registration tenant token_type user"
    );
    assert_eq!(keys(&made["tenant"]), "created_at id organization_name plan slug status timezone");
    assert_eq!(
        keys(&made["user"]),
        "created_at email first_name id last_login_at last_name mfa_enabled role"
    );
    assert_eq!((&made["token_type"], &made["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(
        (&made["user"]["role"], &made["tenant"]["status"]),
        (&json!("owner"), &json!("active"))
    );
    assert_eq!(made["tenant"]["timezone"], "America/Chicago");
    let resource = app.call(Method::GET, &location, None).await.expect(200);
    assert_eq!(resource, made["registration"]);
    assert_eq!(keys(&resource), "error id status steps tenant_id");
    assert_eq!(
        (&resource["status"], &resource["tenant_id"]),
        (&json!("completed"), &made["tenant"]["id"])
    );
    let steps = resource["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["reserve", "role", "database", "schema", "preseed", "owner", "activate"]);
    for step in steps {
        assert_eq!(keys(step), "attempts finished_at name started_at status");
        assert_eq!((&step["status"], &step["attempts"]), (&json!("completed"), &json!(1)));
        assert!(step["started_at"].as_str() <= step["finished_at"].as_str());
    }
    let repeated = register(&app, &registration).await;
    repeated.expect_problem(409, "email_taken");
}

async fn expect_login(app: &TestApp, registration: &Value) {
    let credentials = json!({"email": registration["email"], "password": registration["password"]});
    let login = app.call(Method::POST, "/v1/auth/login", Some(credentials)).await.expect(200);
    assert_eq!(login["tenant"]["organization_name"], registration["organization_name"]);
}

#[tokio::test]
async fn who_asks_not_to_wait_is_sent_to_the_registration() {
    let app = TestApp::start().await;
    let registration = app.registration();
    let request = app
        .client
        .post(format!("{}/v1/auth/register", app.url))
        .header("prefer", "wait=10, respond-async")
        .json(&registration);
    let answer = Answer::of(request.send().await.unwrap()).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let accepted = answer.expect(202);
    assert_eq!(accepted.as_object().unwrap().len(), 1, "{accepted}");
    let status = &accepted["registration"]["status"];
    assert!(status == "pending" || status == "running", "{status}");
    assert_eq!(
        location,
        format!("/v1/registrations/{}", accepted["registration"]["id"].as_str().unwrap())
    );
    eventually("the registration is completed", async || {
        let resource = app.call(Method::GET, &location, None).await.expect(200);
        resource["status"] == "completed" && resource["tenant_id"].is_string()
    })
    .await;
    expect_login(&app, &registration).await;
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_still_gets_a_whole_tenant() {
    let app = TestApp::start().await;
    let registration = app.registration();
    let body = registration.to_string();
    let length = format!("content-length: {}", body.len());
    let headers = ["content-type: application/json", &*length];
    let mut bytes = raw::head("POST /v1/auth/register", &headers);
    bytes.extend(body.as_bytes());
    let mut socket = raw::connect(&app.url).await;
    socket.write_all(&bytes).await.unwrap();
    eventually("the registration has begun", async || {
        app.registry_count("SELECT count(*) FROM provisioning_runs").await == 1
    })
    .await;
    drop(socket);
    eventually("the tenant is active", async || {
        app.registry_count("SELECT count(*) FROM tenants WHERE status = 'active'").await == 1
    })
    .await;
    expect_one_tenant(&app).await;
    expect_login(&app, &registration).await;
}
