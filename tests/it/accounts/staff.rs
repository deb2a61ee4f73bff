//! Several people on the staff: inviting, joining, changing, removing, and what nobody may do to anybody.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use super::in_session;
use super::login::login;
use crate::support::{Answer, MailServer, Staff, TestApp, eventually, unique};

const PASSWORD: &str = "a quite new password 7";

/// An owner who may invite others, whoever they are to be.
pub async fn verified(app: &TestApp) -> Staff {
    let owner = app.register().await;
    let proven = "UPDATE staff SET email_verified_at = now()";
    app.cluster.execute(&owner.database(), proven).await;
    owner.step_up().await;
    owner
}

pub async fn invite(by: &Staff, email: &str, role: &str) -> Answer {
    let new = json!({"email": email, "first_name": "Bea", "last_name": "Second", "role": role});
    by.post("/v1/staff", new).await
}

async fn accept(app: &TestApp, token: &str, password: &str) -> Answer {
    let body = json!({"token": token, "password": password});
    app.call(Method::POST, "/v1/auth/invitations/accept", Some(body)).await
}

/// Somebody who was invited and has joined.
pub async fn joined(app: &TestApp, mail: &MailServer, by: &Staff, role: &str) -> Staff {
    let email = format!("{}@example.org", unique());
    let invited = invite(by, &email, role).await.expect(201);
    let letter = mail.letter(&email, 1).await;
    let session = accept(app, &letter.token(), PASSWORD).await.expect(200);
    let user_id = invited["id"].as_str().unwrap().parse().unwrap();
    in_session(&by.colleague(user_id, &email, PASSWORD), &session)
}

fn path(staff: &Staff) -> String {
    format!("/v1/staff/{}", staff.user_id)
}

/// Names that were written before line breaks were refused, or come from a provider.
#[tokio::test]
async fn the_name_of_an_organization_is_one_short_quoted_line_without_links_in_a_letter() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let name = "Grace\\r\\n\\r\\nPay \"now\": https://evil.example/x or me@evil.example";
    app.registry_execute(&format!(
        "UPDATE tenants SET organization_name = E'{name}' || repeat('x', 60) WHERE id = '{}'",
        owner.tenant_id
    ))
    .await;
    app.router.directory().forget(owner.tenant_id);
    let email = format!("{}@example.org", unique());
    invite(&owner, &email, "editor").await.expect(201);
    let forgot = Some(json!({"email": owner.email}));
    app.call(Method::POST, "/v1/auth/password/forgot", forgot).await.expect(202);
    for letter in [mail.letter(&email, 1).await, mail.letter(&owner.email, 2).await] {
        let quoted = "\"Grace Pay 'now': https evil. example / x or me at evil. e...\"";
        assert!(letter.subject.ends_with(quoted), "{letter:?}");
        assert!(letter.text.contains(&format!("{quoted}.")), "{letter:?}");
    }
}

#[tokio::test]
async fn whoever_is_invited_joins_by_the_letter() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let email = format!("Bea.{}@Example.org", unique());
    let invited = invite(&owner, &email, "editor").await.expect(201);
    assert_eq!((&invited["status"], &invited["role"]), (&json!("invited"), &json!("editor")));
    let email = email.to_lowercase();
    let letter = mail.letter(&email, 1).await;
    assert!(letter.text.contains("/join?token="), "{letter:?}");
    login(&app, &email, PASSWORD).await.expect_problem(401, "invalid_credentials");
    invite(&owner, &email, "viewer").await.expect_problem(409, "conflict");
    // A second letter takes the place of the first.
    let again = format!("/v1/staff/{}/invitation", invited["id"].as_str().unwrap());
    owner.post(&again, json!({})).await.expect(204);
    let second = mail.letter(&email, 2).await.token();
    accept(&app, &letter.token(), PASSWORD).await.expect_problem(401, "invalid_token");
    accept(&app, &second, "short").await.expect_problem(422, "validation_failed");
    let session = accept(&app, &second, PASSWORD).await.expect(200);
    assert_eq!(session["user"]["role"], "editor");
    assert_eq!(session["tenant"]["id"], owner.tenant_id.to_string());
    accept(&app, &second, PASSWORD).await.expect_problem(401, "invalid_token");
    owner.post(&again, json!({})).await.expect_problem(409, "conflict");
    login(&app, &email, PASSWORD).await.expect(200);
    let list = owner.get("/v1/staff").await.expect(200);
    let statuses: Vec<_> = list["data"].as_array().unwrap().iter().map(|s| &s["status"]).collect();
    assert_eq!(statuses, [&json!("active"), &json!("active")]);
}

#[tokio::test]
async fn nothing_is_sent_to_others_before_an_owner_has_proven_their_address() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = app.register().await;
    let email = format!("{}@example.org", unique());
    invite(&owner, &email, "viewer").await.expect_problem(403, "email_not_verified");
    assert!(mail.letters_to(&email).is_empty());
    let token = mail.letter(&owner.email, 1).await.token();
    let verify = app.call(Method::POST, "/v1/auth/email/verify", Some(json!({"token": token})));
    verify.await.expect(204);
    invite(&owner, &email, "viewer").await.expect(201);
    mail.letter(&email, 1).await;
}

#[tokio::test]
async fn one_address_may_be_on_the_staff_of_several_with_a_password_for_each() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let (a, b) = (verified(&app).await, verified(&app).await);
    // The owner of the one is invited to the other, and takes the same password.
    invite(&b, &a.email, "viewer").await.expect(201);
    let token = mail.letter(&a.email, 2).await.token();
    accept(&app, &token, &a.password).await.expect(200);
    let choices = login(&app, &a.email, &a.password).await;
    choices.expect_problem(409, "tenant_selection_required");
    assert_eq!(choices.body["choices"].as_array().unwrap().len(), 2);
    login(&app, &a.email, "wrong password").await.expect_problem(401, "invalid_credentials");
    for choice in choices.body["choices"].as_array().unwrap() {
        let body = json!({"email": a.email, "password": a.password, "tenant": choice["slug"]});
        let session = app.call(Method::POST, "/v1/auth/login", Some(body)).await.expect(200);
        assert_eq!(session["tenant"]["slug"], choice["slug"]);
    }
    // Removed from the one, they sign in to the other without being asked.
    let list = b.get("/v1/staff").await.expect(200);
    let them = list["data"].as_array().unwrap().iter().find(|s| s["email"] == a.email).unwrap();
    b.delete(&format!("/v1/staff/{}", them["id"].as_str().unwrap())).await.expect(204);
    let session = login(&app, &a.email, &a.password).await.expect(200);
    assert_eq!(session["tenant"]["id"], a.tenant_id.to_string());
}

#[tokio::test]
async fn whoever_is_removed_or_disabled_is_out_on_every_replica() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let replica = app.replica().await;
    let owner = verified(&app).await;
    let removed = joined(&app, &mail, &owner, "editor").await;
    let disabled = joined(&app, &mail, &owner, "editor").await;
    removed.at(&replica).get("/v1/members").await.expect(200);
    owner.delete(&path(&removed)).await.expect(204);
    let changed = owner.patch(&path(&disabled), json!({"status": "disabled"})).await.expect(200);
    assert_eq!(changed["status"], "disabled");
    for staff in [&removed, &disabled] {
        staff.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
        eventually("the other replica knows", async || {
            staff.at(&replica).get("/v1/members").await.code() == "token_revoked"
        })
        .await;
        login(&app, &staff.email, PASSWORD).await.expect_problem(401, "invalid_credentials");
    }
    owner.get(&path(&removed)).await.expect_problem(404, "not_found");
    owner.patch(&path(&disabled), json!({"status": "active"})).await.expect(200);
    login(&app, &disabled.email, PASSWORD).await.expect(200);
    // The address is free again.
    invite(&owner, &removed.email, "viewer").await.expect(201);
}

#[tokio::test]
async fn the_last_owner_stays() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let refused = async |staff: &Staff| {
        staff.delete(&path(staff)).await.expect_problem(409, "conflict");
        let demote = json!({"role": "admin"});
        staff.patch(&path(staff), demote).await.expect_problem(409, "conflict");
        let disable = json!({"status": "disabled"});
        staff.patch(&path(staff), disable).await.expect_problem(409, "conflict");
    };
    refused(&owner).await;
    // Somebody who is invited, or disabled, is no owner who is left.
    invite(&owner, &format!("{}@example.org", unique()), "owner").await.expect(201);
    refused(&owner).await;
    let second = joined(&app, &mail, &owner, "owner").await;
    second.step_up().await;
    // Each unmakes the other at once: one is left.
    let (demote, path_a, path_b) = (json!({"role": "viewer"}), path(&owner), path(&second));
    for _ in 0..3 {
        let answers = tokio::join!(
            owner.patch(&path_b, demote.clone()),
            second.patch(&path_a, demote.clone()),
        );
        let statuses = [answers.0.status, answers.1.status];
        assert!(statuses.iter().filter(|status| **status == 200).count() <= 1, "{answers:?}");
        let owners = "SELECT count(*) FROM staff WHERE role = 'owner' AND status = 'active'";
        assert_eq!(app.cluster.count(&owner.database(), owners).await, 1, "{answers:?}");
        let restore = "UPDATE staff SET role = 'owner' WHERE status = 'active'";
        app.cluster.execute(&owner.database(), restore).await;
        for staff in [&owner, &second] {
            eventually("both are owners again", async || {
                staff.get("/v1/tenant/settings").await.status == 200
            })
            .await;
        }
    }
    second.delete(&path(&owner)).await.expect(204);
    refused(&second).await;
}

/// What somebody may do is remembered for some seconds; but not long enough to give it back to oneself.
#[tokio::test]
async fn whoever_has_just_lost_their_rights_cannot_take_them_back() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let second = joined(&app, &mail, &owner, "owner").await;
    // They are remembered as an owner.
    second.get("/v1/members").await.expect(200);
    second.get("/v1/staff").await.expect(200);
    owner.patch(&path(&second), json!({"role": "viewer"})).await.expect(200);
    let back = json!({"role": "owner"});
    second.patch(&path(&second), back).await.expect_problem(403, "forbidden");
    second.delete(&path(&owner)).await.expect_problem(403, "forbidden");
    let key = json!({"name": "Back door", "permissions": ["tenant:manage"]});
    second.post("/v1/api-keys", key).await.expect_problem(403, "forbidden");
    let role = json!({"name": "back door", "permissions": ["members:read"]});
    second.post("/v1/roles", role).await.expect_problem(403, "forbidden");
}

/// An admin may manage staff, and yet not become an owner, or unmake one.
#[rstest]
#[case::become_owner("self", json!({"role": "owner"}))]
#[case::unmake_owner("owner", json!({"role": "viewer"}))]
#[case::shut_owner_out("owner", json!({"status": "disabled"}))]
#[case::rename_owner("owner", json!({"first_name": "Mallory"}))]
#[case::mightier_role("self", json!({"role": "mighty"}))]
#[tokio::test]
async fn nobody_makes_anybody_mightier_than_they_are(#[case] whom: &str, #[case] change: Value) {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let mighty = json!({"name": "mighty", "permissions": ["staff:manage", "tenant:manage"]});
    owner.post("/v1/roles", mighty).await.expect(201);
    let admin = joined(&app, &mail, &owner, "admin").await;
    let whom = if whom == "self" { &admin } else { &owner };
    admin.patch(&path(whom), change).await.expect_problem(403, "forbidden");
    admin.delete(&path(&owner)).await.expect_problem(403, "forbidden");
    admin.delete(&format!("{}/mfa", path(&owner))).await.expect_problem(403, "forbidden");
    for role in ["owner", "mighty"] {
        let email = format!("{}@example.org", unique());
        invite(&admin, &email, role).await.expect_problem(403, "forbidden");
    }
    invite(&admin, &format!("{}@example.org", unique()), "nonsense")
        .await
        .expect_problem(422, "validation_failed");
    admin.patch(&path(&admin), json!({"role": "editor"})).await.expect(200);
}

#[tokio::test]
async fn a_role_gives_no_more_than_its_maker_has() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let admin = joined(&app, &mail, &owner, "admin").await;
    let role = |permissions: &[&str]| json!({"name": unique(), "permissions": permissions});
    admin.post("/v1/roles", role(&["tenant:manage"])).await.expect_problem(403, "forbidden");
    admin.post("/v1/roles", role(&["no:such"])).await.expect_problem(422, "validation_failed");
    let made = admin.post("/v1/roles", role(&["members:read"])).await.expect(201);
    let made = format!("/v1/roles/{}", made["id"].as_str().unwrap());
    let more = json!({"permissions": ["tenant:manage"]});
    admin.patch(&made, more.clone()).await.expect_problem(403, "forbidden");
    owner.patch(&made, more).await.expect(200);
    // By now it permits more than the admin may: it is out of their hands.
    admin.patch(&made, json!({"name": "mine"})).await.expect_problem(403, "forbidden");
    admin.delete(&made).await.expect_problem(403, "forbidden");
    let roles = owner.get("/v1/roles").await.expect(200);
    let built_in = |name: &str| {
        let all = roles["data"].as_array().unwrap();
        let role = all.iter().find(|role| role["name"] == name).unwrap();
        format!("/v1/roles/{}", role["id"].as_str().unwrap())
    };
    let less = json!({"permissions": []});
    owner.patch(&built_in("owner"), less.clone()).await.expect_problem(409, "conflict");
    owner
        .patch(&built_in("viewer"), json!({"name": "guest"}))
        .await
        .expect_problem(409, "conflict");
    owner.delete(&built_in("viewer")).await.expect_problem(409, "conflict");
    owner.patch(&built_in("viewer"), less).await.expect(200);
    owner.delete(&made).await.expect(204);
}

#[tokio::test]
async fn a_second_factor_that_is_lost_is_taken_off_by_a_manager() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let editor = joined(&app, &mail, &owner, "editor").await;
    owner.delete(&format!("{}/mfa", path(&editor))).await.expect_problem(409, "conflict");
    super::mfa::enroll(&app, &editor).await;
    // One's own is taken off with password and code only.
    let own = format!("{}/mfa", path(&owner));
    let (_, codes) = super::mfa::enroll(&app, &owner).await;
    owner.delete(&own).await.expect_problem(409, "conflict");
    login(&app, &editor.email, PASSWORD).await.expect_problem(401, "mfa_required");
    // What they have proven before they had a second factor counts no more.
    let taken_off = owner.delete(&format!("{}/mfa", path(&editor))).await;
    taken_off.expect_problem(403, "step_up_required");
    let proof = json!({"password": owner.password, "recovery_code": codes[0]});
    owner.post("/v1/auth/step-up", proof).await.expect(204);
    owner.delete(&format!("{}/mfa", path(&editor))).await.expect(204);
    editor.get("/v1/auth/me").await.expect_problem(401, "token_revoked");
    login(&app, &editor.email, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn an_owner_closes_the_organization_with_all_that_proves_them() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let slug = owner.get("/v1/auth/me").await.expect(200)["tenant"]["slug"].clone();
    let close = async |confirm: &Value, password: &str| {
        owner.post("/v1/tenant/close", json!({"confirm": confirm, "password": password})).await
    };
    close(&json!("other"), "wrong password").await.expect_problem(422, "validation_failed");
    close(&slug, "wrong password").await.expect_problem(401, "invalid_credentials");
    close(&json!("other"), &owner.password).await.expect_problem(422, "validation_failed");
    owner.get("/v1/auth/me").await.expect(200);
    close(&slug, &owner.password).await.expect(204);
    eventually("nobody is served", async || {
        owner.get("/v1/members").await.code() == "tenant_deleted"
    })
    .await;
}

/// Joining is one thing: whoever is told that it failed has not joined, and comes again with the same letter.
#[tokio::test]
async fn whoever_gets_no_session_has_not_joined() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let email = format!("{}@example.org", unique());
    let invited = invite(&owner, &email, "editor").await.expect(201);
    let token = mail.letter(&email, 1).await.token();
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused by a test'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION refuse()";
    app.cluster.execute(&owner.database(), refuse).await;
    assert!(accept(&app, &token, PASSWORD).await.status >= 500);
    let path = format!("/v1/staff/{}", invited["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.expect(200)["status"], "invited");
    app.cluster.execute(&owner.database(), "DROP TRIGGER refuse ON sessions").await;
    // What follows the session does not make it fail.
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE OF last_login_at ON staff
        FOR EACH ROW WHEN (NEW.last_login_at IS NOT NULL) EXECUTE FUNCTION refuse()";
    app.cluster.execute(&owner.database(), refuse).await;
    accept(&app, &token, PASSWORD).await.expect(200);
    login(&app, &email, PASSWORD).await.expect(200);
}

#[rstest]
#[case::zero_width("own\u{200b}er")]
#[case::marked("\u{200f}owner")]
#[case::filler("\u{3164}")]
#[case::joiners("\u{200d}\u{200d}")]
#[tokio::test]
async fn a_name_shows_all_that_is_in_it(#[case] name: &str) {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let refused = async |answer: Answer, fields: &[&str]| {
        assert_eq!(answer.faults(), fields);
        answer.expect_problem(422, "validation_failed");
    };
    let role = json!({"name": name, "permissions": ["members:read"]});
    refused(owner.post("/v1/roles", role).await, &["name: invalid"]).await;
    let person = json!({"first_name": name, "last_name": name});
    let faults = ["first_name: invalid", "last_name: invalid"];
    refused(owner.patch(&path(&owner), person).await, &faults).await;
    let tenant = json!({"organization_name": name});
    refused(owner.patch("/v1/tenant", tenant).await, &["organization_name: invalid"]).await;
    let seen = json!({"first_name": "Zo\u{eb} \u{1f468}\u{200d}\u{1f469}", "last_name": "\u{2764}\u{fe0f}"});
    owner.patch(&path(&owner), seen).await.expect(200);
}
