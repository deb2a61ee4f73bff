//! Another address for somebody on the staff, across both databases, whatever is cut off in between.

use chrono::TimeDelta;
use narthex::registry::tenants::email_index::{self, AddressStatus};
use reqwest::Method;
use serde_json::json;

use super::login::login;
use super::staff::{invite, joined, verified};
use crate::support::{Answer, MailServer, Staff, TestApp, eventually, unique};

async fn ask(staff: &Staff, email: &str) -> Answer {
    let body = json!({"email": email, "password": staff.password});
    staff.post("/v1/auth/email/change", body).await
}

async fn confirm(app: &TestApp, token: &str) -> Answer {
    let body = json!({"token": token});
    app.call(Method::POST, "/v1/auth/email/change/confirm", Some(body)).await
}

/// Rows of the index for the tenant, and how many of them are uncertain.
async fn index(app: &TestApp, staff: &Staff) -> (i64, i64) {
    let count = async |more: &str| {
        let sql = format!(
            "SELECT count(*) FROM email_index WHERE tenant_id = '{}' {more}",
            staff.tenant_id
        );
        app.cluster.count(&app.registry_database, &sql).await
    };
    (count("").await, count("AND unsettled_since IS NOT NULL").await)
}

#[tokio::test]
async fn whoever_proves_another_address_signs_in_with_it() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let new = format!("New.{}@Example.org", unique());
    let body = json!({"email": new, "password": "not the password"});
    let wrong = owner.post("/v1/auth/email/change", body).await;
    wrong.expect_problem(401, "invalid_credentials");
    ask(&owner, &new).await.expect(202);
    let new = new.to_lowercase();
    let token = mail.letter(&new, 1).await.token();
    // Nothing has changed yet.
    login(&app, &new, &owner.password).await.expect_problem(401, "invalid_credentials");
    login(&app, &owner.email, &owner.password).await.expect(200);
    // What was sent to the old address is good no more, once it has.
    let forgot = json!({"email": owner.email});
    app.call(Method::POST, "/v1/auth/password/forgot", Some(forgot)).await.expect(202);
    let reset = mail.letter(&owner.email, 2).await.token();
    confirm(&app, &token).await.expect(204);
    confirm(&app, &token).await.expect_problem(401, "invalid_token");
    let body = json!({"token": reset, "password": "a quite new password 7"});
    let late = app.call(Method::POST, "/v1/auth/password/reset", Some(body)).await;
    late.expect_problem(401, "invalid_token");
    login(&app, &new, &owner.password).await.expect(200);
    login(&app, &owner.email, &owner.password).await.expect_problem(401, "invalid_credentials");
    let told = mail.letter(&owner.email, 3).await;
    assert!(told.subject.contains("has changed"), "{told:?}");
    assert_eq!(index(&app, &owner).await, (1, 0));
    let me = owner.get("/v1/auth/me").await.expect(200);
    assert_eq!((&me["user"]["email"], &me["email_verified"]), (&json!(new), &json!(true)));

    // The claim has moved along: the new address has registered a tenant, the old one has not.
    let mut registration = app.registration();
    registration["email"] = json!(new);
    let taken = app.call(Method::POST, "/v1/auth/register", Some(registration.clone())).await;
    taken.expect_problem(409, "email_taken");
    registration["email"] = json!(owner.email);
    app.call(Method::POST, "/v1/auth/register", Some(registration)).await.expect(201);
}

/// A thief has asked for another address before the owner sets a new password: it is good no more.
#[tokio::test]
async fn a_new_password_ends_what_somebody_else_has_begun() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let (thiefs, again) =
        (format!("{}@example.net", unique()), format!("{}@example.net", unique()));
    ask(&owner, &thiefs).await.expect(202);
    let token = mail.letter(&thiefs, 1).await.token();
    let body = json!({"email": owner.email});
    app.call(Method::POST, "/v1/auth/password/forgot", Some(body)).await.expect(202);
    let letter = mail.letter(&owner.email, 2).await.token();
    let body = json!({"token": letter, "password": "a quite new password 7"});
    app.call(Method::POST, "/v1/auth/password/reset", Some(body)).await.expect(204);
    confirm(&app, &token).await.expect_problem(401, "invalid_token");
    let session = login(&app, &owner.email, "a quite new password 7").await.expect(200);
    let owner = super::in_session(&owner, &session);
    let body = json!({"email": again, "password": "a quite new password 7"});
    owner.post("/v1/auth/email/change", body).await.expect(202);
    let token = mail.letter(&again, 1).await.token();
    let change = json!({"current_password": "a quite new password 7", "new_password": "a quite new password 8"});
    owner.post("/v1/auth/password/change", change).await.expect(204);
    confirm(&app, &token).await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn the_address_that_one_has_is_no_new_one() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    ask(&owner, &owner.email).await.expect_problem(409, "conflict");
    let mut registration = app.registration();
    registration["email"] = json!(owner.email);
    let taken = app.call(Method::POST, "/v1/auth/register", Some(registration)).await;
    taken.expect_problem(409, "email_taken");
}

/// Two are at one address of a tenant at once: neither knows how it ends, and the job asks.
#[tokio::test]
async fn of_two_marks_neither_settles_what_the_other_has_marked() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let hash = app.registry.hasher().email(&owner.email.parse().unwrap());
    let db = app.registry.connect().await.unwrap();
    let id = owner.tenant_id;
    let first = email_index::mark(&db, hash.clone(), id).await.unwrap();
    let second = email_index::mark(&db, hash.clone(), id).await.unwrap();
    email_index::settle(&db, hash.clone(), id, second, AddressStatus::Unknown).await.unwrap();
    email_index::settle(&db, hash.clone(), id, first, AddressStatus::Unknown).await.unwrap();
    assert_eq!(index(&app, &owner).await, (1, 1));
    let age = "UPDATE email_index SET unsettled_since = now() - interval '6 minutes'
               WHERE unsettled_since IS NOT NULL";
    app.cluster.execute(&app.registry_database, age).await;
    // Who cannot be asked stands in nobody's way, and comes later.
    let suspend =
        |status: &str| format!("UPDATE tenants SET status = '{status}' WHERE id = '{id}'");
    app.cluster.execute(&app.registry_database, &suspend("suspended")).await;
    assert_eq!(app.accounts.email_index.settle_all().await.unwrap(), 0);
    app.cluster.execute(&app.registry_database, &suspend("active")).await;
    eventually("the job has asked", async || {
        // Put back where the tenant could not be asked yet.
        app.cluster.execute(&app.registry_database, age).await;
        app.accounts.email_index.settle_all().await.unwrap();
        index(&app, &owner).await == (1, 0)
    })
    .await;
    // Whoever is alone settles at once.
    let alone = email_index::mark(&db, hash.clone(), id).await.unwrap();
    email_index::settle(&db, hash, id, alone, AddressStatus::Staff).await.unwrap();
    assert_eq!(index(&app, &owner).await, (1, 0));
}

#[tokio::test]
async fn an_address_of_somebody_else_on_the_staff_stays_theirs() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let theirs = format!("{}@example.org", unique());
    invite(&owner, &theirs, "viewer").await.expect(201);
    mail.letter(&theirs, 1).await;
    ask(&owner, &theirs).await.expect(202);
    let token = mail.letter(&theirs, 2).await.token();
    confirm(&app, &token).await.expect_problem(409, "conflict");
    login(&app, &owner.email, &owner.password).await.expect(200);
    app.clock.advance(TimeDelta::hours(25));
    confirm(&app, &token).await.expect_problem(401, "invalid_token");
}

/// The process dies between the two databases: before the tenant's has changed, and after. Whatever it says is what counts,
/// and the index is right in the end.
#[tokio::test]
async fn a_change_that_is_cut_off_leaves_an_address_that_works() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let new: narthex::identifiers::EmailAddress =
        format!("{}@example.org", unique()).parse().unwrap();
    let old: narthex::identifiers::EmailAddress = owner.email.parse().unwrap();
    let mark = async |email: &narthex::identifiers::EmailAddress| {
        let db = app.registry.connect().await.unwrap();
        let hash = app.registry.hasher().email(email);
        email_index::mark(&db, hash, owner.tenant_id).await.unwrap();
    };
    let age = "UPDATE email_index SET unsettled_since = now() - interval '6 minutes'
               WHERE unsettled_since IS NOT NULL";
    // Both are marked, and the tenant was never told.
    mark(&old).await;
    mark(&new).await;
    assert_eq!(index(&app, &owner).await, (2, 2));
    login(&app, &owner.email, &owner.password).await.expect(200);
    assert_eq!(app.accounts.email_index.settle_all().await.unwrap(), 0, "it may go on");
    app.cluster.execute(&app.registry_database, age).await;
    assert_eq!(app.accounts.email_index.settle_all().await.unwrap(), 2);
    assert_eq!(index(&app, &owner).await, (1, 0));
    login(&app, &owner.email, &owner.password).await.expect(200);

    // The tenant was told, and the registry not any more.
    mark(&old).await;
    mark(&new).await;
    let told = format!("UPDATE staff SET email = '{}'", new.as_str());
    app.cluster.execute(&owner.database(), &told).await;
    login(&app, new.as_str(), &owner.password).await.expect(200);
    app.cluster.execute(&app.registry_database, age).await;
    assert_eq!(app.accounts.email_index.settle_all().await.unwrap(), 2);
    assert_eq!(index(&app, &owner).await, (1, 0));
    login(&app, new.as_str(), &owner.password).await.expect(200);
}

/// One invites, the other removes, again and again: whoever is on the staff in the end can be found.
#[tokio::test]
async fn whoever_is_on_the_staff_is_in_the_index_however_acts_cross() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    for _ in 0..8 {
        let email = format!("{}@example.org", unique());
        let first = invite(&owner, &email, "viewer").await.expect(201);
        let remove = format!("/v1/staff/{}", first["id"].as_str().unwrap());
        tokio::join!(owner.delete(&remove), invite(&owner, &email, "viewer"));
        let is_staff = format!("SELECT count(*) FROM staff WHERE email = '{email}'");
        let is_staff = app.cluster.count(&owner.database(), &is_staff).await == 1;
        let hash = app.registry.hasher().email(&email.parse().unwrap());
        let db = app.registry.connect().await.unwrap();
        let found = email_index::tenants_of(&db, &hash).await.unwrap();
        assert!(!is_staff || found == [owner.tenant_id], "{email} is on the staff and not found");
    }
}

/// Invitations of others come before in time, and yet not before somebody who has joined.
#[tokio::test]
async fn no_number_of_invitations_hides_an_account() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let them = joined(&app, &mail, &owner, "editor").await;
    // More organizations than are looked into, that have invited them before.
    let invited = format!(
        "INSERT INTO tenants SELECT (jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(),
             'slug', 'other-' || n, 'database_name', 'other_' || n, 'role_name', 'other_' || n, 'status', 'suspended'))).*
         FROM tenants t, generate_series(1, 25) n WHERE t.id = '{tenant}';
         INSERT INTO email_index (email_hash, tenant_id, created_at)
         SELECT i.email_hash, t.id, '2020-01-01' FROM email_index i, tenants t
         WHERE i.tenant_id = '{tenant}' AND NOT i.self_registered_owner AND t.slug LIKE 'other-%'",
        tenant = owner.tenant_id
    );
    app.registry_execute(&invited).await;
    let standing = async |email: &str| {
        let hash = app.registry.hasher().email(&email.parse().unwrap());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let sql = format!(
            "SELECT coalesce(invited::text, 'unknown') FROM email_index
             WHERE encode(email_hash, 'hex') = '{hash}' AND tenant_id = '{}'",
            owner.tenant_id
        );
        app.cluster.texts(&app.registry_database, &sql).await
    };
    let asked = format!("{}@example.org", unique());
    invite(&owner, &asked, "viewer").await.expect(201);
    assert_eq!(standing(&asked).await, ["true"]);
    assert_eq!(standing(&them.email).await, ["false"]);
    // What an older program has written is asked for once.
    app.registry_execute("UPDATE email_index SET invited = NULL").await;
    assert!(app.accounts.email_index.settle_all().await.unwrap() >= 3);
    assert_eq!(standing(&asked).await, ["true"]);
    assert_eq!(standing(&them.email).await, ["false"]);
    login(&app, &them.email, &them.password).await.expect(200);
    let body = json!({"email": them.email});
    app.call(Method::POST, "/v1/auth/password/forgot", Some(body)).await.expect(202);
    mail.letter(&them.email, 2).await;
}

/// A thief has asked for another address before the owner ends all sessions, or somebody shuts the account out for a while.
#[tokio::test]
async fn what_ends_all_sessions_ends_a_change_of_address_that_was_begun() {
    let mail = MailServer::start().await;
    let app = TestApp::start_with(mail.used()).await;
    let owner = verified(&app).await;
    let editor = joined(&app, &mail, &owner, "editor").await;
    let mut begun = Vec::new();
    for staff in [&owner, &editor] {
        let thiefs = format!("{}@example.net", unique());
        ask(staff, &thiefs).await.expect(202);
        begun.push(mail.letter(&thiefs, 1).await.token());
    }
    let path = format!("/v1/staff/{}", editor.user_id);
    for status in ["disabled", "active"] {
        owner.patch(&path, json!({"status": status})).await.expect(200);
    }
    owner.post("/v1/auth/logout", json!({"everywhere": true})).await.expect(204);
    for token in begun {
        confirm(&app, &token).await.expect_problem(401, "invalid_token");
    }
}
