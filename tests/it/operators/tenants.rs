//! `/v1/admin`: tenants, runs, servers and the audit log, as an admin works with them.

use narthex::registry::people::operators::Role;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{TestApp, TestOperator, eventually, unique};

fn ids(list: &Value) -> Vec<String> {
    let rows = list["data"].as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// All pages of a list, two rows at a time.
async fn pages(operator: &TestOperator, path: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let and = if path.contains('?') { '&' } else { '?' };
        let page = operator.get(&format!("{path}{and}limit=2{cursor}")).await.expect(200);
        assert!(page["data"].as_array().unwrap().len() <= 2);
        all.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[tokio::test]
async fn tenants_are_listed_filtered_shown_and_changed() {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    let mut staff = Vec::new();
    for _ in 0..5 {
        staff.push(app.register().await);
    }
    let newest_first: Vec<String> = staff.iter().rev().map(|s| s.tenant_id.to_string()).collect();
    assert_eq!(pages(&ada, "/v1/admin/tenants").await, newest_first);
    let id = newest_first[1].clone();
    let path = format!("/v1/admin/tenants/{id}");
    let tenant = ada.get(&path).await.expect(200);
    assert_eq!(tenant["status"], "active");
    assert!(!tenant.to_string().contains("password"));

    let name = format!("50%_Chapel {}", unique());
    let change = json!({"organization_name": name, "timezone": "Europe/Berlin", "plan": "gold"});
    let changed = ada.patch(&path, change).await.expect(200);
    assert_eq!(
        (&changed["organization_name"], &changed["timezone"], &changed["plan"]),
        (&json!(name), &json!("Europe/Berlin"), &json!("gold"))
    );
    let me = async || staff[3].get("/v1/auth/me").await.expect(200);
    eventually("the tenant sees it", async || me().await["tenant"]["plan"] == "gold").await;
    let server = tenant["server_id"].as_str().unwrap();
    for (query, found) in [
        ("plan=gold".to_owned(), 1),
        ("plan=nothing".to_owned(), 0),
        ("q=50%25_cHAPEL".to_owned(), 1),
        ("q=50%25%25".to_owned(), 0),
        (format!("q={id}"), 1),
        (format!("q={}", tenant["slug"].as_str().unwrap()), 1),
        (format!("server_id={server}"), 5),
        (format!("server_id={id}"), 0),
        ("status=active".to_owned(), 5),
        ("status=deleted".to_owned(), 0),
        ("q=".to_owned(), 5),
    ] {
        let list = ada.get(&format!("/v1/admin/tenants?{query}")).await.expect(200);
        assert_eq!(ids(&list).len(), found, "{query}");
    }
    assert_eq!(pages(&ada, "/v1/admin/tenants?status=active").await.len(), 5);
    let acts = app.audit_log("tenant.changed").await;
    assert!(acts[0].starts_with(&ada.name) && acts[0].contains("Europe/Berlin"), "{acts:?}");
    assert_eq!(pages(&ada, &format!("{path}/runs")).await.len(), 1);
    let resources = ada.get(&format!("{path}/resources")).await.expect(200);
    assert!(resources.to_string().contains(&staff[3].database()), "{resources}");
    let nobody = format!("/v1/admin/tenants/{}", uuid::Uuid::new_v4());
    for path in [nobody.clone(), format!("{nobody}/runs"), "/v1/admin/tenants/7".to_owned()] {
        ada.get(&path).await.expect_problem(404, "not_found");
    }
    ada.patch(&nobody, json!({"plan": "gold"})).await.expect_problem(404, "not_found");
}

#[rstest]
#[case("tenants?status=lost", "status: invalid")]
#[case("tenants?server_id=7", "server_id: invalid")]
#[case("tenants?plan=A%20B", "plan: invalid")]
#[case("tenants?limit=0", "limit: invalid")]
#[case("tenants?cursor=x", "cursor: invalid")]
#[case("tenants?surprise=1", "surprise: unknown_field")]
#[case("runs?status=lost", "status: invalid")]
#[case("runs?kind=lost", "kind: invalid")]
#[case("runs?tenant_id=7", "tenant_id: invalid")]
#[case("operators?limit=201", "limit: invalid")]
#[case("audit-log?actor_id=me", "actor_id: invalid")]
#[case("audit-log?action=%00", "action: nul_character")]
#[tokio::test]
async fn a_bad_parameter_is_named(#[case] query: &str, #[case] fault: &str) {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Viewer).await;
    let answer = ada.get(&format!("/v1/admin/{query}")).await;
    answer.expect_problem(422, "validation_failed");
    assert!(answer.faults().contains(&fault.to_owned()), "{}", answer.body);
}

#[tokio::test]
async fn a_tenant_goes_through_its_life() {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    let staff = app.register().await;
    let path = format!("/v1/admin/tenants/{}", staff.tenant_id);
    let slug = ada.get(&path).await.expect(200)["slug"].as_str().unwrap().to_owned();
    let post = async |what: &str| ada.call(Method::POST, &format!("{path}/{what}"), None).await;
    let refused = post("resume").await;
    refused.expect_problem(409, "conflict");
    assert!(refused.body["detail"].as_str().unwrap().contains("active"));
    assert_eq!(post("suspend").await.expect(200)["status"], "suspended");
    eventually("staff is out", async || {
        staff.get("/v1/members").await.code() == "tenant_suspended"
    })
    .await;
    post("suspend").await.expect_problem(409, "conflict");
    assert_eq!(post("resume").await.expect(200)["status"], "active");
    for wrong in ["", "?confirm=", "?confirm=another", &format!("?confirm={slug}x")] {
        let answer = ada.delete(&format!("{path}{wrong}")).await;
        answer.expect_problem(422, "validation_failed");
        assert!(answer.faults()[0].starts_with("confirm: "), "{}", answer.body);
    }
    ada.delete(&format!("{path}?confirm={slug}")).await.expect(204);
    for refused in [
        ada.delete(&format!("{path}?confirm={slug}")).await,
        ada.patch(&path, json!({"plan": "gold"})).await,
        post("provision").await,
        ada.post(&format!("{path}/phone-numbers"), json!({"number": "+13125550101"})).await,
    ] {
        refused.expect_problem(409, "conflict");
        assert!(refused.body["detail"].as_str().unwrap().contains("restore"), "{}", refused.body);
    }
    assert_eq!(post("restore").await.expect(200)["status"], "active");
    let acts: Vec<String> = app.audit_log("tenant.%").await;
    let actions: Vec<&str> = acts.iter().map(|event| event.split(' ').nth(2).unwrap()).collect();
    let all = ["tenant.suspended", "tenant.resumed", "tenant.deleted", "tenant.restored"];
    assert_eq!(actions, all, "{acts:?}");
}

#[tokio::test]
async fn a_tenant_is_made_and_its_owner_asks_for_a_password() {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    let email = format!("{}@example.org", unique());
    let owner = json!({"email": email, "first_name": "Grace", "last_name": "Hopper"});
    let slug = format!("chapel-{}", unique());
    let body = json!({"organization_name": "Grace Chapel", "slug": slug, "plan": "gold",
        "timezone": "America/Chicago", "owner": owner});
    let made = ada.post("/v1/admin/tenants", body.clone()).await;
    let location = made.headers["location"].to_str().unwrap().to_owned();
    let made = made.expect(201);
    assert_eq!(
        (&made["slug"], &made["plan"], &made["status"]),
        (&json!(slug), &json!("gold"), &json!("active"))
    );
    assert_eq!(ada.get(&location).await.expect(200), made);
    let run = ada.get(&format!("{location}/runs")).await.expect(200)["data"][0].clone();
    let run = run["id"].as_str().unwrap().to_owned();
    let whole = ada.get(&format!("/v1/admin/runs/{run}")).await.expect(200);
    assert_eq!(whole["history"][0]["actor"], format!("operator:{}", ada.name));
    assert!(whole["steps"].as_array().unwrap().iter().all(|step| step["status"] == "completed"));
    let database = made["database"].as_str().unwrap();
    let hash = app.cluster.texts(database, "SELECT password_hash FROM staff").await;
    assert!(
        hash[0].starts_with("$argon2id$"),
        "a letter can set a password only where there is one"
    );

    let mut other = body;
    other["slug"] = json!(null);
    ada.post("/v1/admin/tenants", other.clone()).await.expect_problem(409, "email_taken");
    other["slug"] = made["slug"].clone();
    other["owner"]["email"] = json!(format!("{}@example.org", unique()));
    ada.post("/v1/admin/tenants", other.clone()).await.expect_problem(409, "slug_taken");
    other["slug"] = json!(null);
    other["owner"]["password"] = json!("a password for hopper");
    let second = ada.post("/v1/admin/tenants", other.clone()).await.expect(201);
    assert_ne!(second["slug"], made["slug"]);
    let login = json!({"email": other["owner"]["email"], "password": "a password for hopper"});
    app.call(Method::POST, "/v1/auth/login", Some(login)).await.expect(200);
    let acts = app.audit_log("tenant.creation_begun").await;
    assert!(acts.len() >= 2 && acts[0].contains(&run), "{acts:?}");
    assert!(!acts.join(" ").contains("example.org"), "addresses do not belong there");

    let bad = json!({"plan": "A", "owner": {"email": "x", "password": "short"}});
    let answer = ada.post("/v1/admin/tenants", bad).await;
    answer.expect_problem(422, "validation_failed");
    let faults = [
        "organization_name: required",
        "owner.email: invalid",
        "owner.first_name: required",
        "owner.last_name: required",
        "owner.password: too_short",
        "plan: invalid",
    ];
    assert_eq!(answer.faults(), faults);
}

#[tokio::test]
async fn what_takes_longer_is_answered_with_its_run() {
    let app = TestApp::start_with(Box::new(|settings| {
        settings.provisioning.wait = std::time::Duration::from_millis(1);
    }))
    .await;
    let ada = app.operator(Role::Admin).await;
    let owner =
        json!({"email": format!("{}@example.org", unique()), "first_name": "G", "last_name": "H"});
    let body = json!({"organization_name": "Slow Chapel", "owner": owner});
    let accepted = ada.post("/v1/admin/tenants", body).await;
    let location = accepted.headers["location"].to_str().unwrap().to_owned();
    let run = accepted.expect(202);
    assert_eq!(location, format!("/v1/admin/runs/{}", run["id"].as_str().unwrap()));
    eventually("it is made", async || ada.get(&location).await.body["status"] == "completed").await;
    for (what, status) in [("retry", 409), ("cancel", 409)] {
        let answer = ada.call(Method::POST, &format!("{location}/{what}"), None).await;
        answer.expect_problem(status, "conflict");
    }
    let nobody = format!("/v1/admin/runs/{}", uuid::Uuid::new_v4());
    ada.get(&nobody).await.expect_problem(404, "not_found");
    for what in ["retry", "cancel"] {
        let answer = ada.call(Method::POST, &format!("{nobody}/{what}"), None).await;
        answer.expect_problem(404, "not_found");
    }
    let tenant = format!("/v1/admin/tenants/{}", run["tenant_id"].as_str().unwrap());
    let repair = ada.call(Method::POST, &format!("{tenant}/provision"), None).await;
    let location = repair.headers["location"].to_str().unwrap().to_owned();
    repair.expect(202);
    eventually("it is mended", async || ada.get(&location).await.body["status"] == "completed")
        .await;
    let filter = format!(
        "/v1/admin/runs?kind=reprovision_tenant&tenant_id={}",
        run["tenant_id"].as_str().unwrap()
    );
    let list = ada.get(&filter).await.expect(200);
    assert_eq!((ids(&list).len(), &list["data"][0]["kind"]), (1, &json!("reprovision_tenant")));
    assert_eq!(app.audit_log("tenant.mending_begun").await.len(), 1);
}

/// A run that waits is hastened and then undone.
#[tokio::test]
async fn a_run_is_hastened_and_cancelled() {
    let app = TestApp::start().await;
    let (eve, staff) = (app.operator(Role::Support).await, app.register().await);
    let id = uuid::Uuid::new_v4();
    app.registry_execute(&format!(
        "INSERT INTO provisioning_runs (id, kind, version, tenant_id, status, created_at, next_attempt_at)
         VALUES ('{id}', 'reprovision_tenant', 99, '{}', 'pending', now(), now() + interval '1 hour')",
        staff.tenant_id
    ))
    .await;
    let post = async |what: &str| {
        eve.call(Method::POST, &format!("/v1/admin/runs/{id}/{what}"), None).await
    };
    assert_eq!(post("retry").await.expect(200)["id"], id.to_string());
    assert!(post("cancel").await.expect(200)["cancel_requested_at"].is_string());
    post("cancel").await.expect_problem(409, "conflict");
    assert_eq!(app.audit_log("run.%").await.len(), 2);
    let history = eve.get(&format!("/v1/admin/runs/{id}")).await.expect(200)["history"].clone();
    let actors: Vec<&str> =
        history.as_array().unwrap().iter().map(|event| event["actor"].as_str().unwrap()).collect();
    assert_eq!(actors, [format!("operator:{}", eve.name), format!("operator:{}", eve.name)]);
}

#[tokio::test]
async fn numbers_are_given_and_released() {
    let app = TestApp::start().await;
    let eve = app.operator(Role::Support).await;
    let (one, two) = (app.register().await, app.register().await);
    let numbers =
        |of: &crate::support::Staff| format!("/v1/admin/tenants/{}/phone-numbers", of.tenant_id);
    // What came for it before waits.
    let parked = app.provider.sms("+14155550100", "+13125550123", "early");
    app.provider.send(&parked).await.expect(200);
    app.registry_execute("UPDATE parked_events SET next_attempt_at = now() + interval '1 hour'")
        .await;
    let given = eve.post(&numbers(&one), json!({"number": "+1 (312) 555-0123"})).await;
    assert!(given.headers["location"].to_str().unwrap().ends_with("/phone-numbers/+13125550123"));
    assert_eq!(given.expect(201)["number"], "+13125550123");
    eventually("what waited is there", async || {
        one.get("/v1/conversations").await.body["data"]
            .as_array()
            .is_some_and(|list| list.len() == 1)
    })
    .await;
    let taken = eve.post(&numbers(&two), json!({"number": "+13125550123"})).await;
    taken.expect_problem(409, "conflict");
    assert!(taken.body["detail"].as_str().unwrap().contains(&one.tenant_id.to_string()));
    let bad = eve.post(&numbers(&two), json!({"number": "12"})).await;
    assert_eq!(bad.faults(), ["number: invalid"]);
    assert_eq!(ids(&eve.get(&numbers(&one)).await.expect(200)).len(), 1);
    let path = |of| format!("{}/%2B13125550123", numbers(of));
    eve.delete(&path(&two)).await.expect_problem(404, "not_found");
    eve.delete(&path(&one)).await.expect(204);
    eve.delete(&path(&one)).await.expect_problem(404, "not_found");
    eve.delete(&format!("{}/x", numbers(&one))).await.expect_problem(404, "not_found");
    eve.post(&numbers(&two), json!({"number": "+13125550123"})).await.expect(201);
    let acts = app.audit_log("phone_number.%").await;
    assert_eq!(acts.len(), 3, "{acts:?}");
}

#[tokio::test]
async fn servers_are_drained_and_opened() {
    let app = TestApp::start().await;
    let ada = app.operator(Role::Admin).await;
    app.register().await;
    let list = ada.get("/v1/admin/servers").await.expect(200);
    let server = &list["data"][0];
    assert_eq!((&server["tenants"], &server["state"]), (&json!(1), &json!("active")));
    let path = format!("/v1/admin/servers/{}", server["id"].as_str().unwrap());
    let post = async |what: &str| ada.call(Method::POST, &format!("{path}/{what}"), None).await;
    assert_eq!(post("drain").await.expect(200)["state"], "draining");
    assert_eq!(post("open").await.expect(200)["state"], "active");
    assert_eq!(app.audit_log("server.changed").await.len(), 2);
    let nobody = format!("/v1/admin/servers/{}/drain", uuid::Uuid::new_v4());
    ada.call(Method::POST, &nobody, None).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn the_audit_log_is_filtered_and_says_who_did_what_from_where() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.operator(Role::Admin).await, app.operator(Role::Support).await);
    let staff = app.register().await;
    let path = format!("/v1/admin/tenants/{}", staff.tenant_id);
    let suspended = eve.call(Method::POST, &format!("{path}/suspend"), None).await;
    let request = suspended.headers["x-request-id"].to_str().unwrap().to_owned();
    suspended.expect(200);
    eve.call(Method::POST, &format!("{path}/resume"), None).await.expect(200);
    let of_tenant = format!("target_kind=tenant&target_id={}", staff.tenant_id);
    let list = ada.get(&format!("/v1/admin/audit-log?{of_tenant}")).await.expect(200);
    let actions: Vec<&Value> =
        list["data"].as_array().unwrap().iter().map(|row| &row["action"]).collect();
    assert_eq!(actions, ["tenant.resumed", "tenant.suspended"]);
    let entry = &list["data"][1];
    assert_eq!(entry["actor"], json!({"kind": "operator", "id": eve.id, "name": eve.name}));
    assert_eq!(entry["target"], json!({"kind": "tenant", "id": staff.tenant_id}));
    assert_eq!((&entry["ip"], &entry["request_id"]), (&json!("127.0.0.1"), &json!(request)));
    assert!(entry["detail"].is_object());
    for (query, found) in [
        (format!("action=tenant.suspended&actor_id={}", eve.id), 1),
        (format!("action=tenant.suspended&actor_id={}", ada.id), 0),
        (format!("action=request&actor_id={}", eve.id), 2),
    ] {
        let list = ada.get(&format!("/v1/admin/audit-log?limit=200&{query}")).await.expect(200);
        assert_eq!(ids(&list).len(), found, "{query}");
    }
    let all = pages(&ada, &format!("/v1/admin/audit-log?actor_id={}", eve.id)).await;
    assert_eq!(all.len(), 5, "signed in, two requests, two acts");
}

#[tokio::test]
async fn every_list_of_operators_comes_in_parts() {
    let app = TestApp::start().await;
    let admin = app.operator(Role::Admin).await;
    let staff = app.register().await;
    let of_tenant = |what: &str| format!("/v1/admin/tenants/{}/{what}", staff.tenant_id);
    for number in ["+13125550141", "+13125550142", "+13125550143"] {
        admin.post(&of_tenant("phone-numbers"), json!({"number": number})).await.expect(201);
    }
    for (list, count) in [
        (of_tenant("phone-numbers"), 3),
        (of_tenant("resources"), 2),
        ("/v1/admin/servers".to_owned(), 1),
    ] {
        admin.get(&format!("{list}?limit=0")).await.expect_problem(422, "validation_failed");
        let all = admin.get(&list).await.expect(200)["data"].as_array().unwrap().clone();
        assert_eq!(all.len(), count, "{list}");
        let (mut seen, mut path) = (Vec::new(), format!("{list}?limit=1"));
        loop {
            let page = admin.get(&path).await.expect(200);
            seen.extend(page["data"].as_array().unwrap().clone());
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("{list}?limit=1&cursor={cursor}");
        }
        assert_eq!(seen, all, "{list}");
    }
}

/// An entry tells of a change; that somebody has called stands in the log anyway.
#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let app = TestApp::start().await;
    let (ada, eve) = (app.operator(Role::Admin).await, app.operator(Role::Support).await);
    let staff = app.register().await;
    ada.step_up().await;
    let operator = format!("/v1/admin/operators/{}", eve.id);
    let same = json!({"name": eve.name, "role": "support", "status": "active"});
    for body in [json!({}), same] {
        ada.patch(&operator, body).await.expect(200);
    }
    let path = format!("/v1/admin/tenants/{}", staff.tenant_id);
    let tenant = ada.get(&path).await.expect(200);
    for body in [json!({}), json!({"plan": tenant["plan"], "timezone": tenant["timezone"]})] {
        assert_eq!(ada.patch(&path, body).await.expect(200), tenant);
    }
    let servers = ada.get("/v1/admin/servers").await.expect(200);
    let server = format!("/v1/admin/servers/{}/open", servers["data"][0]["id"].as_str().unwrap());
    assert_eq!(ada.call(Method::POST, &server, None).await.expect(200)["state"], "active");
    assert_eq!(app.audit_log("%.changed").await, [""; 0]);
}
