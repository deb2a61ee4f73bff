//! The audit log of a tenant: what is in it, that it is whole, and that tampering shows.

use narthex::tenant_data::audit_log::{self, Head, Tampering};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use super::login::login;
use crate::support::{Staff, TestApp};

async fn entries(staff: &Staff, query: &str) -> Vec<Value> {
    let list = staff.get(&format!("/v1/tenant/audit-log{query}")).await.expect(200);
    list["data"].as_array().unwrap().clone()
}

async fn verify(app: &TestApp, staff: &Staff, noted: &Head) -> Result<Head, Tampering> {
    let db = app.router.connect_for_provisioning(staff.tenant_id).await.unwrap();
    audit_log::verify(&db, app.registry.hasher(), noted).await.unwrap()
}

#[tokio::test]
async fn it_says_who_did_what_when_from_where_and_in_which_request() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let request = app.client.request(Method::POST, format!("{}/v1/members", app.url));
    let request = request
        .bearer_auth(&owner.token)
        .header("user-agent", "a browser")
        .header("x-request-id", "request-17")
        .json(&json!({"first_name": "Grace", "phone_number": "+13125550100"}));
    let member = crate::support::Answer::of(request.send().await.unwrap()).await.expect(201);
    let entry = entries(&owner, "?limit=1").await.remove(0);
    assert_eq!(entry["action"], "member.created");
    assert_eq!(entry["target"], json!({"kind": "member", "id": member["id"]}));
    assert_eq!(entry["actor"]["kind"], "staff");
    assert_eq!(entry["actor"]["id"], owner.user_id.to_string());
    assert_eq!(entry["ip"], "127.0.0.1");
    assert_eq!(entry["user_agent"], "a browser");
    assert_eq!(entry["request_id"], "request-17");
    let me = owner.get("/v1/auth/me").await.expect(200);
    let name = format!(
        "{} {}",
        me["user"]["first_name"].as_str().unwrap(),
        me["user"]["last_name"].as_str().unwrap()
    );
    assert_eq!(entry["actor"]["name"], name);
    // What was refused has changed nothing, and is not in it.
    let before = entries(&owner, "").await.len();
    let again = json!({"first_name": "Grace", "phone_number": "+13125550100"});
    owner.post("/v1/members", again).await.expect_problem(409, "conflict");
    assert_eq!(entries(&owner, "").await.len(), before);
}

#[tokio::test]
async fn it_can_be_searched_and_read_page_by_page() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    for n in 0..5 {
        owner.add_member("Grace", &format!("+1312555010{n}")).await;
    }
    login(&app, &owner.email, &owner.password).await.expect(200);
    let created = entries(&owner, "?action=member.created").await;
    assert_eq!(created.len(), 5);
    let id = created[2]["target"]["id"].as_str().unwrap();
    assert_eq!(entries(&owner, &format!("?target_id={id}")).await.len(), 1);
    assert_eq!(entries(&owner, &format!("?target_kind=member&target_id={id}")).await.len(), 1);
    assert_eq!(entries(&owner, &format!("?target_kind=role&target_id={id}")).await.len(), 0);
    assert_eq!(entries(&owner, "?action=session.opened").await.len(), 2);
    let kind = owner.get("/v1/tenant/audit-log?target_kind=member").await;
    kind.expect_problem(422, "validation_failed");
    assert_eq!(entries(&owner, &format!("?actor_id={}", owner.user_id)).await.len(), 7);
    let (mut seen, mut path) = (Vec::new(), "/v1/tenant/audit-log?limit=2".to_owned());
    loop {
        let page = owner.get(&path).await.expect(200);
        seen.extend(page["data"].as_array().unwrap().iter().map(|e| e["sequence"].as_i64()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/tenant/audit-log?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, (1..=7).rev().map(Some).collect::<Vec<_>>());
    owner
        .get("/v1/tenant/audit-log?actor_id=x&limit=0")
        .await
        .expect_problem(422, "validation_failed");
}

#[tokio::test]
async fn no_secret_is_in_it() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    owner.step_up().await;
    let key = json!({"name": "Website", "permissions": ["members:read"]});
    let key = owner.post("/v1/api-keys", key).await.expect(201);
    let change =
        json!({"current_password": owner.password, "new_password": "a quite new password 7"});
    owner.post("/v1/auth/password/change", change).await.expect(204);
    let member = json!({"first_name": "Grace", "phone_number": "+13125550100",
        "email": "grace@example.net"});
    owner.post("/v1/members", member).await.expect(201);
    let text = json!(entries(&owner, "").await).to_string();
    let secrets = [
        key["secret"].as_str().unwrap(),
        &owner.password,
        "a quite new password 7",
        &owner.token,
        "grace@example.net",
        "+13125550100",
    ];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

/// Many write at once: one entry after the other.
#[tokio::test]
async fn the_chain_is_whole_however_many_write() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let numbers: Vec<_> = (0..24).map(|n| format!("+131255502{n:02}")).collect();
    let adding = numbers.iter().map(|number| owner.add_member("Grace", number));
    futures_util::future::join_all(adding).await;
    let head = verify(&app, &owner, &Head::default()).await.unwrap();
    assert_eq!(head.sequence, 25, "the sign-in and the members");
    assert_eq!(verify(&app, &owner, &head).await.unwrap(), head);
}

#[rstest]
#[case::text(
    "UPDATE audit_log SET actor_name = 'Mallory' WHERE sequence = 3",
    Tampering::Altered(3)
)]
#[case::time(
    "UPDATE audit_log SET occurred_at = occurred_at - interval '1 s' WHERE sequence = 2",
    Tampering::Altered(2)
)]
#[case::detail("UPDATE audit_log SET detail = '{ }' WHERE sequence = 4", Tampering::Altered(4))]
#[case::hash("UPDATE audit_log SET hash = '\\x00' WHERE sequence = 2", Tampering::Altered(2))]
#[case::no_hash("UPDATE audit_log SET hash = NULL WHERE sequence = 1", Tampering::Altered(1))]
#[case::no_hashes("UPDATE audit_log SET hash = NULL", Tampering::Altered(1))]
#[case::removed("DELETE FROM audit_log WHERE sequence = 3", Tampering::Missing(3))]
#[case::closed_up(
    "DELETE FROM audit_log WHERE sequence = 3; UPDATE audit_log SET sequence = sequence - 1 WHERE sequence > 3",
    Tampering::Altered(3)
)]
#[case::added(
    "INSERT INTO audit_log SELECT 7, gen_random_uuid(), occurred_at, actor_kind, actor_id, actor_name, action, target_kind, target_id, detail, ip, user_agent, request_id, hash FROM audit_log WHERE sequence = 6",
    Tampering::Altered(7)
)]
#[case::cut_off("DELETE FROM audit_log WHERE sequence = 6", Tampering::Missing(6))]
#[case::emptied("DELETE FROM audit_log", Tampering::Missing(1))]
#[case::before_the_first(
    "INSERT INTO audit_log (sequence, id, occurred_at, actor_kind, actor_name, action, detail) VALUES (0, gen_random_uuid(), now(), 'staff', 'Ada', 'tenant.closed', '{}')",
    Tampering::Altered(0)
)]
#[case::far_before(
    "INSERT INTO audit_log (sequence, id, occurred_at, actor_kind, actor_name, action, detail, hash) SELECT -7, gen_random_uuid(), now(), 'staff', 'Ada', 'tenant.closed', '{}', hash FROM audit_log WHERE sequence = 1",
    Tampering::Altered(-7)
)]
#[tokio::test]
async fn tampering_shows(#[case] sql: &str, #[case] expected: Tampering) {
    let app = TestApp::start().await;
    let owner = app.register().await;
    for n in 0..5 {
        owner.add_member("Grace", &format!("+1312555010{n}")).await;
    }
    let head = verify(&app, &owner, &Head::default()).await.unwrap();
    app.cluster.execute(&owner.database(), sql).await;
    assert_eq!(verify(&app, &owner, &head).await, Err(expected));
}

/// Whoever gets hold of a tenant's connection can add to the log, and do nothing else to it.
#[tokio::test]
async fn the_tenants_own_role_cannot_change_it() {
    use sea_orm::ConnectionTrait;
    let app = TestApp::start().await;
    let owner = app.register().await;
    let tenant = app.router.directory().tenant(owner.tenant_id).await.unwrap().unwrap();
    for sql in ["UPDATE audit_log SET detail = ''", "DELETE FROM audit_log", "TRUNCATE audit_log"] {
        let db = app.router.connect(&tenant).await.unwrap();
        let error = db.execute_unprepared(sql).await.unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{sql}: {error}");
    }
}

/// An entry that is carried over from another tenant, and fits in number and form, does not fit.
#[tokio::test]
async fn an_entry_of_another_tenant_does_not_fit() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    let export = "SELECT row_to_json(audit_log)::text FROM audit_log WHERE sequence = 1";
    let entry = app.cluster.texts(&a.database(), export).await.remove(0);
    let carry = format!(
        "DELETE FROM audit_log; INSERT INTO audit_log SELECT * FROM json_populate_record(NULL::audit_log, '{}')",
        entry.replace('\'', "''")
    );
    app.cluster.execute(&b.database(), &carry).await;
    assert_eq!(verify(&app, &b, &Head::default()).await, Err(Tampering::Altered(1)));
}

/// What is not in the chain was written by nobody who has the key.
#[tokio::test]
async fn an_entry_outside_the_chain_is_not_shown() {
    use sea_orm::ConnectionTrait;
    let app = TestApp::start().await;
    let owner = app.register().await;
    let tenant = app.router.directory().tenant(owner.tenant_id).await.unwrap().unwrap();
    let before = entries(&owner, "").await;
    for (sequence, hash) in [(0, "NULL"), (-3, "'\\x00'"), (99, "NULL")] {
        let db = app.router.connect(&tenant).await.unwrap();
        let forged = format!(
            "INSERT INTO audit_log (sequence, id, occurred_at, actor_kind, actor_name, action, detail, hash)
             VALUES ({sequence}, gen_random_uuid(), now(), 'staff', 'Ada', 'staff.removed', '{{}}', {hash})"
        );
        db.execute_unprepared(&forged).await.unwrap();
    }
    assert_eq!(entries(&owner, "").await, before);
    let noted = verify(&app, &owner, &Head::default()).await;
    assert_eq!(noted, Err(Tampering::Altered(-3)));
}

/// In the registry nobody can write one at all.
#[tokio::test]
async fn the_registrys_log_takes_no_entry_outside_the_chain() {
    use sea_orm::ConnectionTrait;
    let app = TestApp::start().await;
    let db = app.registry.connect().await.unwrap();
    let forged =
        "INSERT INTO audit_log (sequence, id, occurred_at, actor_kind, actor_name, action, detail)
         VALUES (0, gen_random_uuid(), now(), 'command', 'Ada', 'tenant.deleted', '{}')";
    let refused = db.execute_unprepared(forged).await.unwrap_err().to_string();
    assert!(refused.contains("violates check constraint"), "{refused}");
}

/// Has a database refuse what a test wants to fail there: `when` is asked of each new row.
async fn refuse(app: &TestApp, database: &str, (event, table): (&str, &str), when: &str) {
    let sql = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused by a test'; END $$;
         CREATE TRIGGER refuse BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION refuse()"
    );
    app.cluster.execute(database, &sql).await;
}

async fn actions(app: &TestApp, owner: &Staff) -> Vec<String> {
    let sql = "SELECT action FROM audit_log WHERE action LIKE 'tenant.%' ORDER BY sequence";
    app.cluster.texts(&owner.database(), sql).await
}

async fn close(owner: &Staff) -> crate::support::Answer {
    let slug = owner.get("/v1/tenant").await.expect(200)["slug"].clone();
    let body = json!({"confirm": slug, "password": owner.password});
    owner.post("/v1/tenant/close", body).await
}

#[tokio::test]
async fn an_organization_that_could_not_be_closed_is_not_said_to_be() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let when = "NEW.status = 'deleted'";
    refuse(&app, &app.registry_database, ("UPDATE", "tenants"), when).await;
    assert!(close(&owner).await.status >= 500);
    assert_eq!(actions(&app, &owner).await, ["tenant.closing_requested"]);
    app.registry_execute("DROP TRIGGER refuse ON tenants").await;
    close(&owner).await.expect(204);
    let expected = ["tenant.closing_requested", "tenant.closing_requested", "tenant.closed"];
    assert_eq!(actions(&app, &owner).await, expected);
    assert!(verify(&app, &owner, &Head::default()).await.is_ok());
}

#[tokio::test]
async fn an_organization_is_not_changed_without_an_entry() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    let name = "SELECT organization_name FROM tenants";
    let before = app.cluster.texts(&app.registry_database, name).await;
    let change = json!({"organization_name": "Another Chapel"});
    refuse(&app, &owner.database(), ("INSERT", "audit_log"), "NEW.action LIKE 'tenant.%'").await;
    assert!(owner.patch("/v1/tenant", change.clone()).await.status >= 500);
    assert_eq!(app.cluster.texts(&app.registry_database, name).await, before);
    // What the registry has done stands in its own log in the same transaction, whatever becomes of the tenant's.
    let drop = "DROP TRIGGER refuse ON audit_log; DROP FUNCTION refuse";
    app.cluster.execute(&owner.database(), drop).await;
    refuse(&app, &owner.database(), ("INSERT", "audit_log"), "NEW.action = 'tenant.changed'").await;
    let changed = owner.patch("/v1/tenant", change).await.expect(200);
    assert_eq!(changed["organization_name"], "Another Chapel");
    assert_eq!(actions(&app, &owner).await, ["tenant.change_requested"]);
    assert_eq!(app.audit_log("tenant.changed").await.len(), 1);
}

/// An entry tells of a change. What is so already is not changed, and what is over does not end again.
#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let app = TestApp::start().await;
    let owner = app.register().await;
    owner.step_up().await;
    let key = json!({"name": "Website", "permissions": ["members:read"]});
    let key = owner.post("/v1/api-keys", key).await.expect(201);
    let role = json!({"name": "guest", "permissions": ["members:read"]});
    let role = owner.post("/v1/roles", role).await.expect(201);
    let session = login(&app, &owner.email, &owner.password).await.expect(200);
    let list = owner.get("/v1/auth/sessions").await.expect(200);
    let others = list["data"].as_array().unwrap().iter().find(|s| s["current"] == false).unwrap();
    let visit = "INSERT INTO impersonations SELECT gen_random_uuid(), gen_random_uuid(), 'Olga', 'to help', false, now(),
        now() + interval '1 hour'";
    app.cluster.execute(&owner.database(), visit).await;
    let visit = owner.get("/v1/tenant/impersonations").await.expect(200)["data"][0].clone();
    let (user, tenant) = (&session["user"], &session["tenant"]);
    let branch = owner
        .post("/v1/branches", json!({"name": "North", "timezone": "Europe/Berlin"}))
        .await
        .expect(201);
    let member = json!({"first_name": "Anna", "last_name": "Bell", "phone_number": "+13125550123"});
    let member = owner.post("/v1/members", member).await.expect(201);
    owner.patch("/v1/tenant/settings", json!({"locale": "de"})).await.expect(200);
    let at = |path: &str, of: &Value| format!("{path}/{}", of["id"].as_str().unwrap());
    let ends = [
        at("/v1/api-keys", &key),
        at("/v1/auth/sessions", others),
        at("/v1/tenant/impersonations", &visit),
    ];
    for path in &ends {
        owner.delete(path).await.expect(204);
    }
    let before = (entries(&owner, "").await.len(), app.audit_log("tenant.%").await.len());
    for path in &ends {
        owner.delete(path).await.expect(204);
    }
    let same = [
        (
            at("/v1/staff", user),
            json!({"first_name": user["first_name"], "role": "owner", "status": "active"}),
        ),
        (at("/v1/roles", &role), json!({"name": "guest", "permissions": ["members:read"]})),
        ("/v1/tenant/settings".to_owned(), json!({"locale": "de", "mfa_required": false})),
        ("/v1/tenant".to_owned(), json!({"organization_name": tenant["organization_name"]})),
    ];
    for (path, shown) in
        [(at("/v1/members", &member), &member), (at("/v1/branches", &branch), &branch)]
    {
        assert_eq!(owner.patch(&path, json!({})).await.expect(200), *shown, "{path}");
    }
    for (path, body) in &same {
        let unchanged = owner.patch(path, json!({})).await.expect(200);
        assert_eq!(owner.patch(path, body.clone()).await.expect(200), unchanged, "{path}");
    }
    assert_eq!(before, (entries(&owner, "").await.len(), app.audit_log("tenant.%").await.len()));
}
