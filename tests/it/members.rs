//! Members, over HTTP: their whole life, and finding them.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Answer, Staff, TestApp};

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The first names in a list, in its order.
async fn names(staff: &Staff, query: &[(&str, &str)]) -> Vec<String> {
    let url = reqwest::Url::parse_with_params("http://x/v1/members", query).unwrap();
    let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    let list = staff.get(&path).await.expect(200);
    list["data"].as_array().unwrap().iter().map(|m| text(&m["first_name"]).to_owned()).collect()
}

#[tokio::test]
async fn a_read_is_answered_with_these_bytes_and_headers() {
    let app = TestApp::start_with(Box::new(|settings| settings.limits.enabled = true)).await;
    let staff = app.register().await;
    let insert = r#"
        INSERT INTO members (id, first_name, last_name, phone_number, email, branch_id, tags, opted_out_at, created_at,
                             updated_at)
        VALUES ('01935f3c-0000-7000-8000-00000000000a', E'Ren\u00e9 "x"\\\n', '', '+13125550101', NULL, NULL,
                '{choir,"a/b"}', '2026-11-27 21:06:00.12+00', '2026-02-01 00:00:00+00', '2026-11-27 23:06:09.000001+02'),
               ('01935f3c-0000-7000-8000-00000000000b', 'Ada', 'Lovelace', '+13125550102', 'ada@example.org', NULL, '{}',
                NULL, '1999-12-31 23:59:59.999999+00', '9999-12-31 00:00:00.5+00')"#;
    app.cluster.execute(&staff.database(), insert).await;
    for (id, expected) in [
        (
            "01935f3c-0000-7000-8000-00000000000a",
            r#"{"id":"01935f3c-0000-7000-8000-00000000000a","first_name":"René \"x\"\\\n","last_name":"","phone_number":"+13125550101","email":null,"branch_id":null,"tags":["choir","a/b"],"opted_out_at":"2026-11-27T21:06:00.120Z","created_at":"2026-02-01T00:00:00Z","updated_at":"2026-11-27T21:06:09.000001Z"}"#,
        ),
        (
            "01935f3c-0000-7000-8000-00000000000b",
            r#"{"id":"01935f3c-0000-7000-8000-00000000000b","first_name":"Ada","last_name":"Lovelace","phone_number":"+13125550102","email":"ada@example.org","branch_id":null,"tags":[],"opted_out_at":null,"created_at":"1999-12-31T23:59:59.999999Z","updated_at":"9999-12-31T00:00:00.500Z"}"#,
        ),
    ] {
        let answer = staff.get(&format!("/v1/members/{id}")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(String::from_utf8_lossy(&answer.bytes), expected);
        let mut names: Vec<&str> =
            answer.headers.keys().map(reqwest::header::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "content-length",
                "content-type",
                "date",
                "ratelimit",
                "ratelimit-policy",
                "x-request-id"
            ]
        );
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.headers["content-length"], expected.len().to_string().as_str());
        let id = answer.headers["x-request-id"].to_str().unwrap();
        assert_eq!(id.parse::<uuid::Uuid>().unwrap().to_string(), id);
    }
}

#[tokio::test]
async fn a_member_is_added_read_changed_and_removed() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let branch = staff.post("/v1/branches", json!({"name": "North"})).await.expect(201);
    let new = json!({
        "first_name": "  Grace ", "last_name": "Hopper", "phone_number": "+1 (312) 555-0101",
        "email": "Grace@Example.ORG", "branch_id": branch["id"], "tags": ["choir", "choir", " alto "],
    });
    let answer = staff.post("/v1/members", new).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    let member = answer.expect(201);
    let expected = json!({
        "id": member["id"], "first_name": "Grace", "last_name": "Hopper", "phone_number": "+13125550101",
        "email": "grace@example.org", "branch_id": branch["id"], "tags": ["choir", "alto"], "opted_out_at": null,
        "created_at": member["created_at"], "updated_at": member["created_at"],
    });
    assert_eq!(member, expected);
    assert_eq!(location, format!("/v1/members/{}", text(&member["id"])));
    assert!(text(&member["created_at"]).ends_with('Z'), "{}", member["created_at"]);
    assert_eq!(staff.get(&location).await.expect(200), member);

    let changed =
        staff.patch(&location, json!({"last_name": "Murray", "tags": []})).await.expect(200);
    let mut expected = member.clone();
    expected["last_name"] = json!("Murray");
    expected["tags"] = json!([]);
    expected["updated_at"] = changed["updated_at"].clone();
    assert_eq!(changed, expected);
    assert!(text(&changed["updated_at"]) > text(&member["updated_at"]));
    assert_eq!(staff.get(&location).await.expect(200), changed);

    let cleared = json!({"last_name": "", "email": "", "branch_id": ""});
    let cleared = staff.patch(&location, cleared).await.expect(200);
    assert_eq!(
        (&cleared["last_name"], &cleared["email"], &cleared["branch_id"]),
        (&json!(""), &Value::Null, &Value::Null)
    );

    let gone = staff.delete(&location).await;
    assert!(gone.bytes.is_empty());
    gone.expect(204);
    staff.get(&location).await.expect_problem(404, "not_found");
    staff.delete(&location).await.expect_problem(404, "not_found");
    staff.patch(&location, json!({"first_name": "X"})).await.expect_problem(404, "not_found");
    assert_eq!(names(&staff, &[]).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_member_with_the_least_has_every_field_all_the_same() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let new =
        json!({"first_name": "Ada", "phone_number": "+13125550101", "email": null, "tags": null});
    let member = staff.post("/v1/members", new).await.expect(201);
    let expected = json!({
        "id": member["id"], "first_name": "Ada", "last_name": "", "phone_number": "+13125550101", "email": null,
        "branch_id": null, "tags": [], "opted_out_at": null, "created_at": member["created_at"],
        "updated_at": member["updated_at"],
    });
    assert_eq!(member, expected);
    let path = format!("/v1/members/{}", text(&member["id"]));
    let nothing = json!({"first_name": null, "phone_number": null, "tags": null, "email": null});
    let same = staff.patch(&path, nothing).await.expect(200);
    assert_eq!(
        (&same["first_name"], &same["phone_number"]),
        (&json!("Ada"), &json!("+13125550101"))
    );
}

#[rstest]
#[case(json!({"first_name": ""}), "first_name: required")]
#[case(json!({"phone_number": ""}), "phone_number: required")]
#[case(json!({"branch_id": "00000000-0000-7000-8000-000000000001"}), "branch_id: invalid")]
#[tokio::test]
async fn what_a_member_cannot_be_without_cannot_be_cleared(
    #[case] change: Value,
    #[case] fault: &str,
) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let member = staff.add_member("Ada", "+13125550101").await;
    let path = format!("/v1/members/{}", text(&member["id"]));
    let answer = staff.patch(&path, change).await;
    answer.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), [fault]);
    assert_eq!(staff.get(&path).await.expect(200), member);
}

#[tokio::test]
async fn there_is_one_member_for_each_phone_number_of_a_tenant() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let ada = staff.add_member("Ada", "+13125550101").await;
    let grace = staff.add_member("Grace", "+13125550102").await;
    let again = json!({"first_name": "Eve", "phone_number": "+1 312-555-0101"});
    staff.post("/v1/members", again).await.expect_problem(409, "conflict");
    let path = format!("/v1/members/{}", text(&grace["id"]));
    let taken = json!({"phone_number": ada["phone_number"]});
    staff.patch(&path, taken).await.expect_problem(409, "conflict");
    assert_eq!(staff.get(&path).await.expect(200), grace);
    // One's own number is no collision, nor is the number at another tenant.
    staff.patch(&path, json!({"phone_number": grace["phone_number"]})).await.expect(200);
    app.register().await.add_member("Ada", "+13125550101").await;
    // Two at once: the database decides.
    let new = json!({"first_name": "Eve", "phone_number": "+13125550103"});
    let (one, other) =
        tokio::join!(staff.post("/v1/members", new.clone()), staff.post("/v1/members", new));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test]
async fn members_are_found_by_part_of_name_number_or_email_with_every_character_standing_for_itself()
 {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let all = [
        ("Ada", "Lovelace", "+13125550101", "countess@example.org"),
        ("100%", "Sure", "+13125550102", "sure@example.org"),
        ("under_score", "", "+13125550103", ""),
        (r"back\slash", "", "+13125550104", ""),
        ("O'Brien", "", "+13125550105", ""),
        ("Żółć", "", "+442079460958", ""),
    ];
    for (first_name, last_name, phone_number, email) in all {
        let new = json!({"first_name": first_name, "last_name": last_name, "phone_number": phone_number, "email": email});
        staff.post("/v1/members", new).await.expect(201);
    }
    let cases: &[(&str, &[&str])] = &[
        ("ada", &["Ada"]),
        ("LOVE", &["Ada"]),
        ("countess@", &["Ada"]),
        (" ada ", &["Ada"]),
        ("%", &["100%"]),
        ("_", &["under_score"]),
        (r"\", &[r"back\slash"]),
        (r"\%", &[]),
        ("a_a", &[]),
        ("'", &["O'Brien"]),
        ("+4420", &["Żółć"]),
        ("(312) 555-0101", &["Ada"]),
        ("+1 312.555.0103", &["under_score"]),
        ("312\u{2011}555\u{2011}0104", &[r"back\slash"]),
        ("\u{202a}+1\u{a0}(312)\u{a0}555-0105\u{202c}", &["O'Brien"]),
        ("020 7946 0958", &["Żółć"]),
        ("+44 (0)20 7946 0958", &["Żółć"]),
        ("555-01", &["O'Brien", r"back\slash", "under_score", "100%", "Ada"]),
        ("-", &[]),
        ("()", &[]),
        ("ŻÓŁ", &["Żółć"]),
        ("'; DROP TABLE members; --", &[]),
        ("", &["Żółć", "O'Brien", r"back\slash", "under_score", "100%", "Ada"]),
    ];
    for (q, expected) in cases {
        assert_eq!(&names(&staff, &[("q", q)]).await, expected, "{q}");
    }
}

#[tokio::test]
async fn filters_narrow_a_list_each_and_together_and_across_its_parts() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let branch = staff.post("/v1/branches", json!({"name": "North"})).await.expect(201);
    let branch = text(&branch["id"]);
    let group = uuid::Uuid::new_v4().to_string();
    for i in 0..8 {
        let branch = if i % 2 == 0 { json!(branch) } else { Value::Null };
        let new = json!({"first_name": format!("m{i}"), "phone_number": format!("+1312555010{i}"), "branch_id": branch});
        staff.post("/v1/members", new).await.expect(201);
    }
    let sql = format!(
        "UPDATE members SET opted_out_at = now() WHERE first_name IN ('m0', 'm1');
         INSERT INTO groups (id, name, created_at, updated_at) VALUES ('{group}', 'Choir', now(), now());
         INSERT INTO group_members SELECT '{group}', id FROM members WHERE first_name IN ('m0', 'm2', 'm3', 'm4', 'm6');"
    );
    app.cluster.execute(&staff.database(), &sql).await;
    assert_eq!(names(&staff, &[("branch_id", branch)]).await, ["m6", "m4", "m2", "m0"]);
    assert_eq!(names(&staff, &[("group_id", &group)]).await, ["m6", "m4", "m3", "m2", "m0"]);
    assert_eq!(names(&staff, &[("opted_out", "true")]).await, ["m1", "m0"]);
    assert_eq!(
        names(&staff, &[("opted_out", "false")]).await,
        ["m7", "m6", "m5", "m4", "m3", "m2"]
    );
    let every = [
        ("branch_id", branch),
        ("group_id", &*group),
        ("opted_out", "false"),
        ("q", "m"),
        ("limit", "2"),
    ];
    assert_eq!(names(&staff, &every).await, ["m6", "m4"]);
    let path =
        format!("/v1/members?branch_id={branch}&group_id={group}&opted_out=false&q=m&limit=2");
    let first = staff.get(&path).await.expect(200);
    let rest = [every.as_slice(), &[("cursor", text(&first["next_cursor"]))]].concat();
    assert_eq!(names(&staff, &rest).await, ["m2"]);
    let unknown = uuid::Uuid::new_v4().to_string();
    assert!(names(&staff, &[("branch_id", &unknown)]).await.is_empty());
}

#[tokio::test]
async fn a_list_read_in_parts_has_no_gap_and_no_repeat_while_members_are_added() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    for i in 0..23 {
        staff.add_member(&format!("m{i}"), &format!("+131255501{i:02}")).await;
    }
    // Rows of one time are told apart by their ids.
    let ties = "UPDATE members SET created_at = '2026-01-01' WHERE first_name IN ('m3', 'm4', 'm5', 'm6', 'm7', 'm8')";
    app.cluster.execute(&staff.database(), ties).await;
    let order = "SELECT first_name FROM members ORDER BY created_at DESC, id DESC";
    let expected = app.cluster.texts(&staff.database(), order).await;
    let (mut seen, mut cursor, mut parts) = (Vec::new(), None, 0);
    loop {
        let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let part = staff.get(&format!("/v1/members?limit=4{from}")).await.expect(200);
        let rows = part["data"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| text(&row["first_name"]).to_owned()));
        parts += 1;
        cursor = part["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
        assert_eq!(rows.len(), 4);
        staff.add_member("late", &format!("+141555501{parts:02}")).await;
    }
    assert_eq!(seen, expected);
    assert_eq!(parts, 6);
    // A part that just ends the list says so.
    let whole = staff.get("/v1/members?limit=200").await.expect(200);
    assert_eq!(
        (whole["data"].as_array().unwrap().len(), &whole["next_cursor"]),
        (28, &Value::Null)
    );
    let exact = staff.get("/v1/members?limit=28").await.expect(200);
    assert_eq!(exact["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_list_has_fifty_rows_where_nobody_says_how_many() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let rows = "INSERT INTO members (id, first_name, last_name, phone_number, created_at, updated_at)
        SELECT gen_random_uuid(), 'm' || i, '', '+1' || (3125550000 + i), now(), now() FROM generate_series(1, 60) i";
    app.cluster.execute(&staff.database(), rows).await;
    let list = staff.get("/v1/members").await.expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 50);
    assert!(list["next_cursor"].is_string());
}

#[tokio::test]
async fn a_conversation_outlives_the_member_it_was_with() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let digits = format!("{:06}", uuid::Uuid::new_v4().as_u128() % 1_000_000);
    let (own, contact) = (format!("+13125{digits}"), "+13125550101");
    app.assign_number(&own, staff.tenant_id).await;
    let member = staff.add_member("Ada", contact).await;
    let sms: Answer = app.provider.send(&app.provider.sms(contact, &own, "Hello")).await;
    assert_eq!(sms.expect(200), json!({"status": "accepted"}));
    let before = staff.get("/v1/conversations").await.expect(200);
    assert_eq!(before["data"][0]["member_id"], member["id"]);
    let path = format!("/v1/members/{}", text(&member["id"]));
    staff.call(Method::DELETE, &path, None).await.expect(204);
    let after = staff.get("/v1/conversations").await.expect(200);
    assert_eq!(
        (&after["data"][0]["id"], &after["data"][0]["member_id"]),
        (&before["data"][0]["id"], &Value::Null)
    );
}
