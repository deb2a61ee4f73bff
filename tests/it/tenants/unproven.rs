//! A registration whose address nobody proves ends by itself, and keeps nobody from registering; any other tenant stays.

use narthex::audit::Actor;
use narthex::tenants::StatusChange;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Answer, MailServer, Staff, TestApp, eventually};

async fn app() -> (TestApp, MailServer) {
    let mail = MailServer::start().await;
    (TestApp::start_with(mail.used()).await, mail)
}

async fn register(app: &TestApp, body: Value) -> Answer {
    app.call(Method::POST, "/v1/auth/register", Some(body)).await
}

/// Lets time pass for the registrations of a tenant.
async fn age(app: &TestApp, staff: &Staff, by: &str) {
    let id = staff.tenant_id;
    app.registry_execute(&format!(
        "UPDATE unproven_tenants SET registered_at = registered_at - interval '{by}' WHERE tenant_id = '{id}';
         UPDATE tenants SET deleted_at = deleted_at - interval '{by}' WHERE id = '{id}'"
    ))
    .await;
}

async fn status(app: &TestApp, staff: &Staff) -> String {
    let sql = format!("SELECT status FROM tenants WHERE id = '{}'", staff.tenant_id);
    app.cluster.texts(&app.registry_database, &sql).await.remove(0)
}

async fn prove(app: &TestApp, staff: &Staff) {
    app.cluster.execute(&staff.database(), "UPDATE staff SET email_verified_at = now()").await;
}

#[tokio::test]
async fn a_registration_whose_address_nobody_proves_ends_and_its_database_is_taken_back() {
    let (app, _mail) = app().await;
    let (staff, young) = (app.register().await, app.register().await);
    age(&app, &staff, "6 days").await;
    assert_eq!(app.purges.delete_unproven().await.unwrap(), 0);
    age(&app, &staff, "2 days").await;
    assert_eq!(app.purges.delete_unproven().await.unwrap(), 1);
    assert_eq!((&*status(&app, &staff).await, &*status(&app, &young).await), ("deleted", "active"));
    assert_eq!(app.purges.purge_due().await.unwrap(), 0, "a request may still be at it");
    age(&app, &staff, "2 hours").await;
    assert_eq!(app.purges.purge_due().await.unwrap(), 1);
    eventually("it is gone", async || status(&app, &staff).await == "purged").await;
    let there = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", staff.database());
    assert_eq!(app.cluster.count("postgres", &there).await, 0);
    let left = "SELECT count(*) FROM unproven_tenants";
    assert_eq!(app.registry_count(left).await, 1, "the young one's");
    let mut again = app.registration();
    again["email"] = json!(staff.email);
    register(&app, again).await.expect(201);
}

#[tokio::test]
async fn a_tenant_whose_address_was_proven_before_or_at_the_last_moment_stays() {
    let (app, mail) = app().await;
    let (before, late) = (app.register().await, app.register().await);
    let token = mail.letter(&before.email, 1).await.token();
    let verified =
        app.call(Method::POST, "/v1/auth/email/verify", Some(json!({"token": token}))).await;
    verified.expect(204);
    for staff in [&before, &late] {
        age(&app, staff, "8 days").await;
    }
    assert_eq!(app.purges.delete_unproven().await.unwrap(), 1);
    assert_eq!(status(&app, &before).await, "active");
    prove(&app, &late).await;
    age(&app, &late, "2 hours").await;
    assert_eq!(app.purges.purge_due().await.unwrap(), 0);
    assert_eq!(status(&app, &late).await, "active");
    assert_eq!(app.registry_count("SELECT count(*) FROM unproven_tenants").await, 0);
    eventually("it is served", async || late.get("/v1/members").await.status == 200).await;
}

#[rstest]
#[case::an_identity_provider_knows_somebody(
    "INSERT INTO external_identities SELECT id, 'clerk', 'user_1', now() FROM staff"
)]
#[case::an_operator_has_looked_in(
    "INSERT INTO impersonations SELECT gen_random_uuid(), gen_random_uuid(), 'Op', 'why', false, now(), now(), NULL"
)]
#[case::somebody_else_has_proven_theirs(
    "INSERT INTO staff (id, email, password_hash, first_name, last_name, role, email_verified_at, created_at, updated_at)
     SELECT gen_random_uuid(), 'second@example.org', '', 'B', 'B', 'viewer', now(), now(), now()"
)]
#[tokio::test]
async fn a_tenant_that_is_more_than_its_owners_does_not_end(#[case] what: &str) {
    let (app, _mail) = app().await;
    let staff = app.register().await;
    age(&app, &staff, "8 days").await;
    app.cluster.execute(&staff.database(), what).await;
    assert_eq!(app.purges.delete_unproven().await.unwrap(), 0);
    assert_eq!(status(&app, &staff).await, "active");
}

#[tokio::test]
async fn a_tenant_that_an_operator_has_taken_care_of_does_not_end_by_itself() {
    let (app, _mail) = app().await;
    let (restored, held) = (app.register().await, app.register().await);
    let origin = Actor::command("test").into();
    let number = "+13125550177".parse().unwrap();
    app.tenants.assign_number(held.tenant_id, &number, &origin).await.unwrap();
    for staff in [&restored, &held] {
        age(&app, staff, "8 days").await;
    }
    assert_eq!(app.purges.delete_unproven().await.unwrap(), 1);
    let change = app.tenants.change_status(restored.tenant_id, StatusChange::Restore, &origin);
    assert!(change.await.unwrap());
    assert_eq!(app.purges.delete_unproven().await.unwrap(), 0);
    for staff in [&restored, &held] {
        assert_eq!(status(&app, staff).await, "active");
    }
}

/// A stranger could otherwise keep an address that is not theirs by giving the organization another name.
#[tokio::test]
async fn a_change_by_its_own_staff_keeps_no_tenant() {
    let (app, _mail) = app().await;
    let staff = app.register().await;
    let name = json!({"organization_name": "Another Name"});
    staff.patch("/v1/tenant", name).await.expect(200);
    age(&app, &staff, "8 days").await;
    assert_eq!(app.purges.delete_unproven().await.unwrap(), 1);
    assert_eq!(status(&app, &staff).await, "deleted");
}

#[tokio::test]
async fn nothing_ends_where_no_address_can_be_proven_or_where_it_is_switched_off() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    assert_eq!(app.registry_count("SELECT count(*) FROM unproven_tenants").await, 0);
    app.registry_execute(&format!(
        "INSERT INTO unproven_tenants VALUES ('{}', now() - interval '1 year')",
        staff.tenant_id
    ))
    .await;
    let mut settings = app.settings.clone();
    settings.provisioning.unproven_lifetime = std::time::Duration::ZERO;
    let replica = TestApp::open_registry(
        app.cluster.clone(),
        app.registry_database.clone(),
        Box::new(move |own| *own = settings),
    )
    .await;
    assert_eq!(replica.purges.delete_unproven().await.unwrap(), 0);
    assert_eq!(status(&app, &staff).await, "active");
}

#[tokio::test]
async fn an_address_that_was_never_proven_can_register_again_after_an_hour_and_a_proven_one_not() {
    let (app, _mail) = app().await;
    let stranger = app.register().await;
    let again = || {
        let mut body = app.registration();
        body["email"] = json!(stranger.email);
        body
    };
    register(&app, again()).await.expect_problem(409, "email_taken");
    age(&app, &stranger, "61 minutes").await;
    let owner = register(&app, again()).await.expect(201);
    // What the stranger has made is not touched by that, and ends when its own time is over.
    stranger.get("/v1/members").await.expect(200);
    register(&app, again()).await.expect_problem(409, "email_taken");
    let database =
        narthex::identifiers::TenantId(owner["tenant"]["id"].as_str().unwrap().parse().unwrap());
    let database = database.database_name();
    app.cluster.execute(&database, "UPDATE staff SET email_verified_at = now()").await;
    app.registry_execute(
        "UPDATE unproven_tenants SET registered_at = registered_at - interval '1 year'",
    )
    .await;
    register(&app, again()).await.expect_problem(409, "email_taken");
}

/// Whoever has registered with somebody else's address closes what they have made: the address is not theirs for that.
#[tokio::test]
async fn an_unproven_tenant_that_its_own_staff_have_closed_keeps_its_address_no_longer() {
    let (app, _mail) = app().await;
    let stranger = app.register().await;
    let slug = format!("SELECT slug FROM tenants WHERE id = '{}'", stranger.tenant_id);
    let slug = app.cluster.texts(&app.registry_database, &slug).await.remove(0);
    let close = json!({"confirm": slug, "password": stranger.password});
    stranger.post("/v1/tenant/close", close).await.expect(204);
    age(&app, &stranger, "2 hours").await;
    let mut owner = app.registration();
    owner["email"] = json!(stranger.email);
    register(&app, owner).await.expect(201);
    assert_eq!(app.purges.purge_due().await.unwrap(), 0, "it can be restored");
    age(&app, &stranger, "7 days").await;
    assert_eq!(app.purges.purge_due().await.unwrap(), 1);
}
