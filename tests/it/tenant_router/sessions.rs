//! Connections of tenants and of the registry that were ended, or remember what is not so any more: requests do not
//! notice.

use reqwest::Method;
use serde_json::json;

use crate::support::{Staff, TestApp, eventually};

/// As a restart of the server does it, with nothing in flight.
async fn end_all_sessions(app: &TestApp, staff: &[Staff]) {
    let mut databases = vec![format!("'{}'", app.registry_database)];
    databases.extend(staff.iter().map(|staff| format!("'{}'", staff.tenant_id.database_name())));
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 5000)::text FROM pg_stat_activity
         WHERE datname IN ({}) AND pid <> pg_backend_pid()",
        databases.join(", ")
    );
    assert!(app.cluster.texts("postgres", &sql).await.len() > staff.len());
}

async fn sign_in(app: &TestApp, staff: &Staff) {
    let credentials = json!({"email": staff.email, "password": staff.password});
    app.call(Method::POST, "/v1/auth/login", Some(credentials)).await.expect(200);
}

#[tokio::test]
async fn a_server_that_restarts_with_nothing_in_flight_costs_no_request() {
    let app = TestApp::start().await;
    let staff = [app.register().await, app.register().await];
    for round in 0..3 {
        for staff in &staff {
            staff.get("/v1/members").await.expect(200);
            staff.get("/v1/members").await.expect(200);
        }
        end_all_sessions(&app, &staff).await;
        for (at, staff) in staff.iter().enumerate() {
            staff.add_member("Grace", &format!("+131255501{round}{at}")).await;
            staff.get("/v1/members").await.expect(200);
            sign_in(&app, staff).await;
        }
    }
}

#[tokio::test]
async fn the_end_of_one_pools_connection_has_those_of_the_same_server_looked_at() {
    let app = TestApp::start().await;
    let staff = [app.register().await, app.register().await];
    for staff in &staff {
        staff.get("/v1/members").await.expect(200);
    }
    end_all_sessions(&app, &staff).await;
    staff[0].get("/v1/members").await.expect(200);
    let backends = async || {
        let role = staff[1].tenant_id.database_name();
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
        app.cluster.count("postgres", &sql).await
    };
    assert_eq!(backends().await, 0);
    let db = app.tenant_db(staff[1].tenant_id).await;
    assert_eq!(backends().await, 1, "a connection was lent that is dead for all that is known");
    drop(db);
}

#[tokio::test]
async fn a_column_of_another_type_fails_no_request() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    staff.add_member("Grace", "+13125550101").await;
    staff.get("/v1/members").await.expect(200);
    sign_in(&app, &staff).await;
    let database = staff.tenant_id.database_name();
    let tenants = "ALTER TABLE members ALTER COLUMN first_name TYPE varchar(500)";
    app.cluster.execute(&database, tenants).await;
    let registry = "ALTER TABLE tenants ALTER COLUMN organization_name TYPE varchar(500)";
    app.registry_execute(registry).await;
    for _ in 0..5 {
        staff.get("/v1/members").await.expect(200);
        sign_in(&app, &staff).await;
    }
}

#[tokio::test]
async fn a_registry_in_which_tenants_cannot_be_looked_up_makes_no_replica_ready() {
    let app = TestApp::start().await;
    let ready =
        async || app.client.get(format!("{}/readyz", app.url)).send().await.unwrap().status();
    eventually("it is ready", async || ready().await == 200).await;
    app.registry_execute("ALTER TABLE tenants RENAME COLUMN slug TO nickname").await;
    eventually("it is not ready", async || ready().await == 503).await;
    app.registry_execute("ALTER TABLE tenants RENAME COLUMN nickname TO slug").await;
    eventually("it is ready again", async || ready().await == 200).await;
}
