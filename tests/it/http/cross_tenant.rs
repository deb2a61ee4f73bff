//! Nothing crosses from one tenant to another: every route, with the token of the one and the ids of the other.

use serde_json::json;

use super::quiet::snapshot;
use super::routes::{Audience, Furnished, expect_complete, furnished_app, tenant_routes};
use crate::support::Answer;

#[track_caller]
fn expect_nothing_of(owner: &Furnished, answer: &Answer, what: &str) {
    let text = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.bytes));
    for mark in &owner.marks {
        assert!(!text.contains(mark), "{what} shows {mark}: {text}");
    }
}

#[test]
fn every_route_is_in_the_table() {
    expect_complete();
}

#[tokio::test]
async fn the_token_of_one_tenant_reaches_nothing_of_another() {
    let app = furnished_app().await;
    let a = Furnished::make(&app).await;
    let b = Furnished::make(&app).await;
    let before = snapshot(&app.cluster, &a.staff.database()).await;
    for route in tenant_routes() {
        let answer = b.staff.call(route.method.clone(), &a.path(&route), route.body()).await;
        let what = format!("{} {}", route.method, route.path);
        expect_nothing_of(&a, &answer, &what);
        match route.audience {
            Audience::ReadsOne | Audience::Changes | Audience::ChangesOwn => {
                answer.expect_problem(404, "not_found");
            }
            Audience::AsksForSecret => {
                let (status, code) = route.refused_guess();
                answer.expect_problem(status, code);
            }
            _ => assert!((200..300).contains(&answer.status), "{what}: {}", answer.body),
        }
        if route.audience == Audience::ReadsList {
            assert_eq!(answer.body["data"].as_array().unwrap().len(), 1, "{what}: only one's own");
        }
    }
    assert_eq!(snapshot(&app.cluster, &a.staff.database()).await, before);

    // The same requests by those whose things they are succeed: the walk above did ask for something.
    a.staff.step_up().await;
    for route in tenant_routes().filter(|route| route.audience != Audience::AsksForSecret) {
        let answer = a.staff.call(route.method.clone(), &a.path(&route), route.body()).await;
        assert!(
            (200..300).contains(&answer.status),
            "{} {}: {}",
            route.method,
            route.path,
            answer.body
        );
    }
    assert_ne!(snapshot(&app.cluster, &a.staff.database()).await, before);
}

#[tokio::test]
async fn ids_of_another_tenant_in_bodies_and_filters_name_nothing() {
    let app = furnished_app().await;
    let a = Furnished::make(&app).await;
    let b = Furnished::make(&app).await;
    let (branch, member) = (a.branch["id"].as_str().unwrap(), b.member["id"].as_str().unwrap());
    let before = snapshot(&app.cluster, &a.staff.database()).await;
    let own_before = snapshot(&app.cluster, &b.staff.database()).await;
    let new = json!({"first_name": "Eve", "phone_number": "+13125550666", "branch_id": branch});
    let change = json!({"branch_id": branch});
    for answer in [
        b.staff.post("/v1/members", new).await,
        b.staff.patch(&format!("/v1/members/{member}"), change).await,
    ] {
        answer.expect_problem(422, "validation_failed");
        assert_eq!(answer.faults(), ["branch_id: invalid"]);
    }
    for filter in [
        format!("/v1/members?branch_id={branch}"),
        format!("/v1/members?group_id={branch}"),
        format!("/v1/members?q={}", a.marks[0]),
        format!("/v1/conversations?assigned_to={}", a.staff.user_id),
    ] {
        assert_eq!(b.staff.get(&filter).await.expect(200)["data"], json!([]));
    }
    // A place in the other's list is a place in the own list, and no more.
    let one =
        a.staff.post("/v1/members", json!({"first_name": "Z", "phone_number": "+13125550777"}));
    one.await.expect(201);
    let cursor = a.staff.get("/v1/members?limit=1").await.expect(200)["next_cursor"].clone();
    let path = format!("/v1/members?cursor={}", cursor.as_str().unwrap());
    expect_nothing_of(&a, &b.staff.get(&path).await, "a cursor of another tenant");
    assert_eq!(snapshot(&app.cluster, &b.staff.database()).await, own_before);
    assert_eq!(
        snapshot(&app.cluster, &a.staff.database()).await.len(),
        before.len() + 2,
        "the member, and its entry in the audit log"
    );
}

#[tokio::test]
async fn a_request_that_names_another_tenant_than_its_token_is_refused_on_every_route() {
    let app = furnished_app().await;
    let a = Furnished::make(&app).await;
    let b = Furnished::make(&app).await;
    let before = snapshot(&app.cluster, &b.staff.database()).await;
    for route in tenant_routes() {
        for named in [a.staff.tenant_id.to_string(), a.marks[5].clone()] {
            let mut request = app
                .client
                .request(route.method.clone(), format!("{}{}", app.url, b.path(&route)))
                .bearer_auth(&b.staff.token)
                .header("x-tenant-id", named);
            if let Some(body) = route.body() {
                request = request.json(&body);
            }
            let answer = Answer::of(request.send().await.unwrap()).await;
            answer.expect_problem(403, "tenant_mismatch");
            expect_nothing_of(&a, &answer, route.path);
        }
    }
    assert_eq!(snapshot(&app.cluster, &b.staff.database()).await, before);
}
