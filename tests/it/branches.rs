//! Branches, over HTTP.

use serde_json::{Value, json};

use crate::support::TestApp;

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn a_branch_is_added_read_changed_and_removed() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let new = json!({"name": " North ", "timezone": "Europe/Berlin"});
    let answer = staff.post("/v1/branches", new).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let branch = answer.expect(201);
    let expected = json!({
        "id": branch["id"], "name": "North", "timezone": "Europe/Berlin", "created_at": branch["created_at"],
        "updated_at": branch["created_at"],
    });
    assert_eq!(branch, expected);
    assert_eq!(location, format!("/v1/branches/{}", text(&branch["id"])));
    assert_eq!(staff.get(&location).await.expect(200), branch);

    let changed = staff.patch(&location, json!({"name": "South"})).await.expect(200);
    assert_eq!(
        (&changed["name"], &changed["timezone"]),
        (&json!("South"), &json!("Europe/Berlin"))
    );
    let changed = staff.patch(&location, json!({"timezone": "Asia/Tokyo"})).await.expect(200);
    assert_eq!((&changed["name"], &changed["timezone"]), (&json!("South"), &json!("Asia/Tokyo")));
    assert_eq!(changed["created_at"], branch["created_at"]);
    assert_eq!(staff.get(&location).await.expect(200), changed);

    staff.delete(&location).await.expect(204);
    staff.get(&location).await.expect_problem(404, "not_found");
    staff.delete(&location).await.expect_problem(404, "not_found");
    staff.patch(&location, json!({"name": "X"})).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_branch_without_a_timezone_has_that_of_the_organization() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    for timezone in [Value::Null, json!("")] {
        let new = json!({"name": format!("North {timezone}"), "timezone": timezone});
        assert_eq!(
            staff.post("/v1/branches", new).await.expect(201)["timezone"],
            "America/Chicago"
        );
    }
}

#[tokio::test]
async fn what_a_branch_cannot_be_is_refused() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let branch = staff.post("/v1/branches", json!({"name": "North"})).await.expect(201);
    let path = format!("/v1/branches/{}", text(&branch["id"]));
    for (body, fault) in [
        (json!({"name": "x".repeat(121)}), "name: too_long"),
        (json!({"name": "x", "timezone": "Mars/Olympus"}), "timezone: invalid"),
        (json!({"name": "  "}), "name: required"),
        (json!({"name": "x\0"}), "name: nul_character"),
        (json!({"name": "x", "id": "y"}), "id: unknown_field"),
    ] {
        for answer in
            [staff.post("/v1/branches", body.clone()).await, staff.patch(&path, body).await]
        {
            answer.expect_problem(422, "validation_failed");
            assert_eq!(answer.faults(), [fault]);
        }
    }
    let cleared = staff.patch(&path, json!({"timezone": ""})).await;
    assert_eq!(cleared.faults(), ["timezone: required"]);
    assert_eq!(staff.get("/v1/branches").await.expect(200)["data"], json!([branch]));
}

#[tokio::test]
async fn two_branches_of_a_tenant_do_not_share_a_name() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    staff.post("/v1/branches", json!({"name": "North"})).await.expect(201);
    let south = staff.post("/v1/branches", json!({"name": "South"})).await.expect(201);
    staff.post("/v1/branches", json!({"name": "North"})).await.expect_problem(409, "conflict");
    let path = format!("/v1/branches/{}", text(&south["id"]));
    staff.patch(&path, json!({"name": "North"})).await.expect_problem(409, "conflict");
    assert_eq!(staff.get(&path).await.expect(200), south);
    app.register().await.post("/v1/branches", json!({"name": "North"})).await.expect(201);
}

#[tokio::test]
async fn a_branch_with_members_stays_until_they_have_gone() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let branch = staff.post("/v1/branches", json!({"name": "North"})).await.expect(201);
    let path = format!("/v1/branches/{}", text(&branch["id"]));
    let member = staff.add_member("Ada", "+13125550101").await;
    let member = format!("/v1/members/{}", text(&member["id"]));
    staff.patch(&member, json!({"branch_id": branch["id"]})).await.expect(200);
    staff.delete(&path).await.expect_problem(409, "conflict");
    assert_eq!(staff.get(&path).await.expect(200), branch);
    staff.patch(&member, json!({"branch_id": ""})).await.expect(200);
    staff.delete(&path).await.expect(204);
}

#[tokio::test]
async fn branches_are_listed_newest_first_in_parts() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    for i in 0..7 {
        staff.post("/v1/branches", json!({"name": format!("b{i}")})).await.expect(201);
    }
    let (mut seen, mut from) = (Vec::new(), String::new());
    for expected in [3, 3, 1] {
        let part = staff.get(&format!("/v1/branches?limit=3{from}")).await.expect(200);
        let rows = part["data"].as_array().unwrap();
        assert_eq!(rows.len(), expected);
        seen.extend(rows.iter().map(|row| text(&row["name"]).to_owned()));
        from = format!("&cursor={}", part["next_cursor"].as_str().unwrap_or("end"));
    }
    assert_eq!(seen, ["b6", "b5", "b4", "b3", "b2", "b1", "b0"]);
    assert_eq!(from, "&cursor=end");
}
