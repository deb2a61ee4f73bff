//! `narthex operators`: the first operator comes from here, and who is locked out gets in again.

use narthex::registry::people::operators::Role;
use serde_json::json;

use super::{CliFixture, Said};
use crate::support::TestApp;

const PASSWORD: &str = "a password for grace";

async fn create(place: &CliFixture, email: &str, role: &str, password: &str) -> Said {
    let arguments = ["operators", "create", "--email", email, "--name", "Grace", "--role", role];
    let said = place.run_with(&arguments, &format!("{password}\n")).await;
    said.never_says(&[PASSWORD]);
    said
}

#[tokio::test]
async fn operators_are_made_listed_disabled_and_reset() {
    let place = CliFixture::migrated().await;
    create(&place, "ada@example.org", "admin", PASSWORD).await.expect(0);
    create(&place, "Ada@Example.org", "viewer", PASSWORD)
        .await
        .expect_error(1, &["an operator with this address"]);
    create(&place, "eve@example.org", "viewer", PASSWORD).await.expect(0);
    create(&place, "bob@example.org", "root", PASSWORD)
        .await
        .expect_error(2, &["viewer, support, admin"]);
    for (password, reason) in [("short", "10 to 128"), ("passwordpassword", "first that anybody")] {
        create(&place, "bob@example.org", "viewer", password).await.expect_error(1, &[reason]);
    }
    let list = place.json(&["operators", "list"]).await;
    let row = |at: usize| {
        json!([list[at]["email"], list[at]["role"], list[at]["status"], list[at]["mfa_enabled"]])
    };
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(row(0), json!(["eve@example.org", "viewer", "active", false]));
    assert_eq!(row(1), json!(["ada@example.org", "admin", "active", false]));
    assert!(!list.to_string().contains("argon2"));
    let table = place.run(&["operators", "list"]).await.expect(0);
    assert!(table.contains("ada@example.org") && table.contains("2 operator(s)"), "{table}");

    let run = async |arguments: &[&str]| place.run(arguments).await;
    run(&["operators", "disable", "ada@example.org"]).await.expect_error(1, &["last active admin"]);
    run(&["operators", "disable", "eve@example.org"]).await.expect(0);
    assert_eq!(place.json(&["operators", "list"]).await[0]["status"], "disabled");
    run(&["operators", "enable", "eve@example.org"]).await.expect(0);
    run(&["operators", "enable", "nobody@example.org"])
        .await
        .expect_error(1, &["nobody@example.org", "operators list"]);
    place
        .run_with(&["operators", "reset", "eve@example.org"], "another one for eve 7\n")
        .await
        .expect(0);
    let acts = "SELECT action || ' ' || actor_kind || ' ' || (actor_name LIKE 'cli:%') FROM audit_log ORDER BY sequence";
    let acts = place.cluster.texts(&place.database, acts).await;
    let all = ["created", "created", "changed", "changed", "reset"];
    assert_eq!(acts, all.map(|event| format!("operator.{event} command true")));
}

#[tokio::test]
async fn who_is_reset_has_no_session_and_no_second_factor() {
    let app = TestApp::start().await;
    let place = CliFixture::of(&app);
    let ada = app.operator(Role::Admin).await;
    crate::operators::second_factor::enroll(&app, &ada).await;
    let new = "a quite new password 7";
    place.run_with(&["operators", "reset", &ada.email], &format!("{new}\n")).await.expect(0);
    ada.get("/v1/admin/auth/me").await.expect_problem(401, "token_revoked");
    let old = app.operator_login(&ada.email, &ada.password, json!({})).await;
    old.expect_problem(401, "invalid_credentials");
    app.operator_login(&ada.email, new, json!({})).await.expect(200);
}
