//! What can take an organization over asks for more than a token: password and second factor, once more.

use chrono::TimeDelta;
use narthex::registry::people::operators::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::in_session;
use super::login::login;
use super::mfa::enroll;
use super::staff::{invite, joined};
use crate::support::{Answer, MailServer, Staff, TestApp, TestOperator, eventually, unique};

/// An owner who may invite others, and has proven nothing.
async fn unproven(app: &TestApp) -> Staff {
    let owner = app.register().await;
    let proven = "UPDATE staff SET email_verified_at = now()";
    app.cluster.execute(&owner.database(), proven).await;
    owner
}

async fn prove(staff: &Staff, more: Value) -> Answer {
    let mut body = json!({"password": staff.password});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    staff.post("/v1/auth/step-up", body).await
}

async fn again(app: &TestApp, staff: &Staff) -> Staff {
    in_session(staff, &login(app, &staff.email, &staff.password).await.expect(200))
}

/// An act that asks for a proof, of somebody who may do it.
async fn mighty(staff: &Staff) -> Answer {
    let key = json!({"name": "Website", "permissions": ["tenant:manage"]});
    staff.post("/v1/api-keys", key).await
}

#[tokio::test]
async fn a_token_alone_makes_and_unmakes_no_owner_and_gives_nobody_rights() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = unproven(&app).await;
    let colleague = joined(&app, &mail, &owner, "viewer").await;
    let second = joined(&app, &mail, &owner, "viewer").await;
    let gone = joined(&app, &mail, &owner, "viewer").await;
    enroll(&app, &colleague).await;
    let sql = format!(
        "UPDATE staff SET role = 'owner' WHERE id IN ('{}', '{}');
         UPDATE staff SET role = 'admin', status = 'disabled' WHERE id = '{}'",
        owner.user_id, second.user_id, gone.user_id
    );
    app.cluster.execute(&owner.database(), &sql).await;
    let own = |name: &str, permissions: &[&str]| json!({"name": name, "permissions": permissions});
    owner.post("/v1/roles", own("strong", &["members:read", "staff:manage"])).await.expect(201);
    let weak = owner.post("/v1/roles", own("weak", &["members:read"])).await.expect(201);
    let weak = format!("/v1/roles/{}", weak["id"].as_str().unwrap());
    let new = |role: &str| {
        json!({"email": format!("{}@example.org", unique()), "first_name": "Eve",
            "last_name": "New", "role": role})
    };
    let of = |staff: &Staff| format!("/v1/staff/{}", staff.user_id);
    let (post, patch, delete) = (Method::POST, Method::PATCH, Method::DELETE);
    let acts = [
        (post.clone(), "/v1/staff".to_owned(), Some(new("owner"))),
        (post.clone(), "/v1/staff".to_owned(), Some(new("admin"))),
        (post.clone(), "/v1/staff".to_owned(), Some(new("strong"))),
        (patch.clone(), of(&colleague), Some(json!({"role": "admin"}))),
        (patch.clone(), of(&gone), Some(json!({"status": "active"}))),
        (patch.clone(), of(&second), Some(json!({"status": "disabled"}))),
        (patch.clone(), of(&second), Some(json!({"role": "viewer"}))),
        (patch, weak, Some(json!({"permissions": ["members:read", "tenant:manage"]}))),
        (post.clone(), "/v1/api-keys".to_owned(), Some(own("Back door", &["staff:manage"]))),
        (delete.clone(), format!("{}/mfa", of(&colleague)), None),
        (delete, of(&second), None),
    ];
    // What is the caller's own, or gives nobody rights, asks for none.
    invite(&owner, &format!("{}@example.org", unique()), "viewer").await.expect(201);
    for (method, path, body) in &acts {
        let answer = owner.call(method.clone(), path, body.clone()).await;
        assert_eq!(answer.code(), "step_up_required", "{method} {path}: {}", answer.body);
        answer.expect_problem(403, "step_up_required");
    }
    prove(&owner, json!({})).await.expect(204);
    for (method, path, body) in acts {
        // An owner who was made a viewer, or is disabled, is made an owner again for the next act.
        let restore = format!(
            "UPDATE staff SET role = 'owner', status = 'active' WHERE id = '{}'",
            second.user_id
        );
        app.cluster.execute(&owner.database(), &restore).await;
        let answer = owner.call(method.clone(), &path, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_proof_counts_for_five_minutes_in_its_own_session_and_as_long_as_the_password() {
    let app = TestApp::start().await;
    let owner = unproven(&app).await;
    let other = again(&app, &owner).await;
    mighty(&other).await.expect_problem(403, "step_up_required");
    prove(&owner, json!({})).await.expect(204);
    mighty(&owner).await.expect(201);
    mighty(&other).await.expect_problem(403, "step_up_required");
    app.clock.advance(TimeDelta::minutes(5));
    mighty(&owner).await.expect_problem(403, "step_up_required");

    prove(&owner, json!({})).await.expect(204);
    let change =
        json!({"current_password": owner.password, "new_password": "a quite new password 7"});
    owner.post("/v1/auth/password/change", change).await.expect(204);
    mighty(&owner).await.expect_problem(403, "step_up_required");

    let owner = Staff { password: "a quite new password 7".to_owned(), ..owner };
    prove(&owner, json!({})).await.expect(204);
    enroll(&app, &owner).await;
    mighty(&owner).await.expect_problem(403, "step_up_required");
}

#[tokio::test]
async fn a_failed_proof_counts_like_a_failed_sign_in_and_both_are_written_down() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.limits.enabled = true;
    }))
    .await;
    let owner = unproven(&app).await;
    let (authenticator, codes) = enroll(&app, &owner).await;
    app.clock.advance(TimeDelta::seconds(30));
    prove(&owner, json!({})).await.expect_problem(401, "mfa_required");
    let code = json!({"totp_code": authenticator.code(&app)});
    prove(&owner, code.clone()).await.expect(204);
    // No code is good twice, here and at the door.
    prove(&owner, code.clone()).await.expect_problem(401, "invalid_credentials");
    let recovery = json!({"recovery_code": codes[0]});
    prove(&owner, recovery.clone()).await.expect(204);
    prove(&owner, recovery).await.expect_problem(401, "invalid_credentials");
    let wrong = Staff { password: "wrong password".to_owned(), ..owner.clone() };
    let mut refused = 2;
    let limited = loop {
        let answer = prove(&wrong, json!({})).await;
        if answer.status != 401 {
            break answer;
        }
        refused += 1;
        assert!(refused < 100, "nobody counts");
    };
    limited.expect_problem(429, "rate_limited");
    login(&app, &owner.email, &owner.password).await.expect_problem(429, "rate_limited");
    let sql = "SELECT action FROM audit_log WHERE action LIKE 'step_up.%'";
    let actions = app.cluster.texts(&owner.database(), sql).await;
    let count = |action: &str| actions.iter().filter(|found| *found == action).count();
    assert_eq!((count("step_up.proven"), count("step_up.refused")), (2, refused));
}

#[tokio::test]
async fn an_address_moves_by_password_alone_only_where_there_is_no_second_factor() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = unproven(&app).await;
    let ask = async || {
        let body =
            json!({"email": format!("{}@example.org", unique()), "password": owner.password});
        owner.post("/v1/auth/email/change", body).await
    };
    ask().await.expect(202);
    let (authenticator, _) = enroll(&app, &owner).await;
    ask().await.expect_problem(403, "step_up_required");
    app.clock.advance(TimeDelta::seconds(30));
    prove(&owner, json!({"totp_code": authenticator.code(&app)})).await.expect(204);
    ask().await.expect(202);
}

#[tokio::test]
async fn a_key_of_a_program_gives_nobody_rights() {
    let app = TestApp::start().await;
    let owner = unproven(&app).await;
    prove(&owner, json!({})).await.expect(204);
    let key = mighty(&owner).await.expect(201);
    let program = owner.with_token(key["secret"].as_str().unwrap());
    mighty(&program).await.expect_problem(403, "step_up_required");
    prove(&program, json!({})).await.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn an_operators_token_alone_makes_no_operator_and_changes_none() {
    let app = TestApp::start().await;
    let (admin, other) = (app.operator(Role::Admin).await, app.operator(Role::Viewer).await);
    let path = format!("/v1/admin/operators/{}", other.id);
    let new = || {
        json!({"name": "New", "role": "admin", "password": "a quite new password 7",
            "email": format!("{}@example.org", unique())})
    };
    let prove = async |operator: &TestOperator, password: &str| {
        operator.post("/v1/admin/auth/step-up", json!({"password": password})).await
    };
    let refused = async |operator: &TestOperator| {
        let made = operator.post("/v1/admin/operators", new()).await;
        made.expect_problem(403, "step_up_required");
        for change in [json!({"role": "admin"}), json!({"status": "disabled"})] {
            operator.patch(&path, change).await.expect_problem(403, "step_up_required");
        }
    };
    refused(&admin).await;
    admin.patch(&path, json!({"name": "Another"})).await.expect(200);
    prove(&admin, "a guess").await.expect_problem(401, "invalid_credentials");
    refused(&admin).await;
    prove(&admin, &admin.password).await.expect(204);
    refused(&admin.again().await).await;
    admin.post("/v1/admin/operators", new()).await.expect(201);
    admin.patch(&path, json!({"status": "disabled"})).await.expect(200);
    assert_eq!(app.audit_log("operator.step_up_refused").await.len(), 1);
    assert_eq!(app.audit_log("operator.stepped_up").await.len(), 1);
    app.clock.advance(TimeDelta::minutes(5));
    refused(&admin).await;
}

/// Whoever changes the password meanwhile, or shuts them out, waits for the proof, and takes it back.
#[tokio::test]
async fn a_proof_is_recorded_while_the_account_is_held() {
    let app = TestApp::start().await;
    let owner = unproven(&app).await;
    let mut holder = app.cluster.connect(&app.registry_database).await;
    sqlx::Executor::execute(&mut holder, "BEGIN; LOCK TABLE step_ups").await.unwrap();
    let proving = prove(&owner, json!({}));
    let looking = async {
        let waits = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
            app.registry_database
        );
        eventually("it waits", async || app.cluster.count("postgres", &waits).await == 1).await;
        let held = format!(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
             WHERE datname = '{}' AND locktype = 'advisory' AND granted",
            owner.database()
        );
        let held = app.cluster.count("postgres", &held).await;
        sqlx::Executor::execute(&mut holder, "COMMIT").await.unwrap();
        held
    };
    let (answer, held) = tokio::join!(proving, looking);
    answer.expect(204);
    assert_eq!(held, 1);
}

/// Their password is changed while they show it.
#[tokio::test]
async fn a_second_factor_is_begun_only_for_the_account_as_it_was_proven() {
    let app = TestApp::start().await;
    let owner = unproven(&app).await;
    let database = owner.database();
    let mut other = app.cluster.connect(&database).await;
    let change = "BEGIN; UPDATE staff SET password_hash = 'another', password_set_at = now()";
    sqlx::Executor::execute(&mut other, change).await.unwrap();
    let enrolling = owner.post("/v1/auth/mfa/enroll", json!({"password": owner.password}));
    let committing = async {
        let waits = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'"
        );
        eventually("it waits", async || app.cluster.count("postgres", &waits).await == 1).await;
        sqlx::Executor::execute(&mut other, "COMMIT").await.unwrap();
    };
    let (answer, ()) = tokio::join!(enrolling, committing);
    answer.expect_problem(401, "invalid_credentials");
    assert_eq!(app.cluster.count(&database, "SELECT count(*) FROM staff_totp").await, 0);
}

#[tokio::test]
async fn a_proof_of_which_no_entry_tells_does_not_count() {
    let app = TestApp::start().await;
    let owner = unproven(&app).await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$full$$; END';
        CREATE TRIGGER refuse BEFORE INSERT ON audit_log EXECUTE FUNCTION refuse()";
    app.cluster.execute(&owner.database(), refuse).await;
    assert!(prove(&owner, json!({})).await.status >= 500);
    app.cluster.execute(&owner.database(), "DROP TRIGGER refuse ON audit_log").await;
    let key = json!({"name": "Website", "permissions": ["tenant:manage"]});
    owner.post("/v1/api-keys", key).await.expect_problem(403, "step_up_required");
}
