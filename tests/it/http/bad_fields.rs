//! Fields that are unknown, missing, of another type or out of range: all of them are named at once.

use std::time::{Duration, Instant};

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use super::quiet::{quiet, send};
use crate::support::Answer;

async fn create_member(body: &Value) -> Answer {
    send(quiet().request(Method::POST, "/v1/members").json(body)).await
}

#[track_caller]
fn expect_faults(answer: &Answer, faults: &[&str]) {
    answer.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), faults, "{}", answer.body);
}

#[tokio::test]
async fn every_call_names_every_unknown_field() {
    for call in quiet().calls_with_body() {
        let answer = send(call.json(&json!({"surprise": 1, "Email": "x", "a`b": {}}))).await;
        answer.expect_problem(422, "validation_failed");
        for name in ["surprise", "Email"] {
            let fault = format!("{name}: unknown_field");
            assert!(answer.faults().contains(&fault), "{fault} is not in {}", answer.body);
        }
    }
    quiet().expect_untouched().await;
}

#[rstest]
#[case::nothing(json!({}), &["first_name: required", "phone_number: required"])]
#[case::null_is_absent(
    json!({"first_name": null, "last_name": null, "phone_number": null, "tags": null, "email": null}),
    &["first_name: required", "phone_number: required"],
)]
#[case::wrong_types(
    json!({"first_name": 1, "last_name": ["x"], "phone_number": {"a": 1}, "email": true, "tags": "x", "branch_id": 7}),
    &[
        "branch_id: invalid_type", "email: invalid_type", "first_name: invalid_type", "last_name: invalid_type",
        "phone_number: invalid_type", "tags: invalid_type",
    ],
)]
#[case::wrong_type_inside(
    json!({"first_name": "Ada", "phone_number": "+13125550199", "tags": ["a", null]}),
    &["tags[1]: invalid_type"],
)]
#[case::every_kind_at_once(
    json!({"first_name": "x".repeat(81), "phone_number": "12", "email": "no", "branch_id": "no", "tags": [1], "surprise": 1}),
    &[
        "branch_id: invalid", "email: invalid", "first_name: too_long", "phone_number: invalid", "surprise: unknown_field",
        "tags[0]: invalid_type",
    ],
)]
#[case::nul(
    json!({"first_name": "A\0", "phone_number": "+13125550199", "tags": ["ok", "a\0"], "b\0": 1}),
    &["b\0: nul_character", "first_name: nul_character", "tags: nul_character"],
)]
#[case::control_character(
    json!({"first_name": "A\u{1b}[2J", "phone_number": "+13125550199"}),
    &["first_name: invalid"],
)]
#[case::line_break(
    json!({"first_name": "A\n\nB", "last_name": "C\tD", "phone_number": "+13125550199", "tags": ["a\rb"]}),
    &["first_name: invalid", "last_name: invalid", "tags: invalid"],
)]
#[case::another_order_than_it_is_written(
    json!({"first_name": "A\u{202e}B", "last_name": "\u{2066}", "phone_number": "+13125550199", "tags": ["a\u{2028}b"]}),
    &["first_name: invalid", "last_name: invalid", "tags: invalid"],
)]
#[case::only_white_space(
    json!({"first_name": " \t\n", "phone_number": " "}),
    &["first_name: required", "phone_number: required"],
)]
#[case::too_many_tags(
    json!({"first_name": "Ada", "phone_number": "+13125550199", "tags": vec!["x"; 51]}),
    &["tags: too_long"],
)]
#[case::huge(
    json!({"first_name": "x".repeat(100_000), "last_name": "ü".repeat(100_000), "phone_number": "1".repeat(100_000),
        "email": format!("{}@{}.example", "a".repeat(100_000), "ü".repeat(100_000)), "tags": ["x".repeat(100_000)]}),
    &["email: invalid", "first_name: too_long", "last_name: too_long", "phone_number: invalid", "tags: too_long"],
)]
#[case::unknown_branch(
    json!({"first_name": "Ada", "phone_number": "+13125550199", "branch_id": "00000000-0000-7000-8000-000000000001"}),
    &["branch_id: invalid"],
)]
#[tokio::test]
async fn a_member_with_faults_is_refused_with_all_of_them(
    #[case] body: Value,
    #[case] faults: &[&str],
) {
    expect_faults(&create_member(&body).await, faults);
    quiet().expect_untouched().await;
}

#[rstest]
#[case("phone_number", &["3125550199", "+", "+1", "+1312555019x", "+999123456789", "tel:+13125550199", "+13125550199;"])]
#[case("email", &["ada", "@example.org", "ada@", "ada@localhost", "ada@[127.0.0.1]", "a b@example.org", "a@b@example.org", "ada@exa_mple..org"])]
#[case("branch_id", &["1", "not-a-uuid", "00000000-0000-0000-0000-00000000000g"])]
#[tokio::test]
async fn values_without_the_right_form_are_refused(#[case] field: &str, #[case] values: &[&str]) {
    for value in values {
        let mut body = json!({"first_name": "Ada", "phone_number": "+13125550199"});
        body[field] = json!(value);
        expect_faults(&create_member(&body).await, &[&format!("{field}: invalid")]);
        let change = json!({field: value});
        let path = format!("/v1/members/{}", quiet().member);
        let answer = send(quiet().request(Method::PATCH, &path).json(&change)).await;
        expect_faults(&answer, &[&format!("{field}: invalid")]);
    }
    quiet().expect_untouched().await;
}

#[rstest]
#[case("password", json!("x".repeat(200)), "too_long")]
#[case("password", json!("ü".repeat(129)), "too_long")]
#[case("password", json!("123456789"), "too_short")]
#[case("password", json!("ünfzehn-€"), "too_short")]
#[case("password", json!(""), "required")]
#[case("password", json!("0123456789\0"), "nul_character")]
#[case("password", json!(1_234_567_890_123_u64), "invalid_type")]
#[case("email", json!("nobody"), "invalid")]
#[case("email", json!("Ada <ada@example.org>"), "invalid")]
#[case("email", json!(format!("{}@example.org", "a".repeat(250))), "invalid")]
#[case("email", json!("ada\r\nbcc: x@example.org"), "invalid")]
#[case("email", json!("ada\0@example.org"), "nul_character")]
#[case("email", Value::Null, "required")]
#[case("timezone", json!("Mars/Olympus"), "invalid")]
#[case("timezone", json!("../../etc/passwd"), "invalid")]
#[case("timezone", json!("america/chicago\0"), "nul_character")]
#[case("slug", json!("ab"), "invalid")]
#[case("slug", json!("Upper-Case"), "invalid")]
#[case("slug", json!("-begins"), "invalid")]
#[case("slug", json!("ends-"), "invalid")]
#[case("slug", json!("under_score"), "invalid")]
#[case("slug", json!("x".repeat(41)), "invalid")]
#[case("slug", json!("admin"), "invalid")]
#[case("slug", json!("bücher"), "invalid")]
#[case("slug", json!("wpad"), "invalid")]
#[case("slug", json!("autodiscover"), "invalid")]
#[case("slug", json!("localhost"), "invalid")]
#[case("slug", json!("xn--bcher-kva"), "invalid")]
#[case("slug", json!("a; DROP TABLE tenants"), "invalid")]
#[case("organization_name", json!("x".repeat(121)), "too_long")]
#[case("organization_name", json!("   "), "required")]
#[case("first_name", json!("x".repeat(81)), "too_long")]
#[case("last_name", json!([]), "invalid_type")]
#[tokio::test]
async fn a_registration_with_a_bad_field_names_it_and_leaves_nothing(
    #[case] field: &str,
    #[case] value: Value,
    #[case] code: &str,
) {
    let mut registration = quiet().registration.clone();
    registration[field] = value;
    let call = quiet().anonymous(Method::POST, "/v1/auth/register").json(&registration);
    expect_faults(&send(call).await, &[&format!("{field}: {code}")]);
    quiet().expect_untouched().await;
}

#[tokio::test]
async fn a_flood_of_unknown_fields_is_refused_soon_and_not_all_are_repeated() {
    let fields: serde_json::Map<String, Value> =
        (0..80_000).map(|i| (format!("f{i}"), json!(1))).collect();
    let start = Instant::now();
    let answer = create_member(&Value::Object(fields)).await;
    answer.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults().len(), 50);
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
    quiet().expect_untouched().await;
}

/// A name stands in letters, lists, logs and on terminals.
#[tokio::test]
async fn no_name_has_a_line_break_or_a_control_character() {
    let owner = &quiet().tenant;
    let wrong = "a\nb\u{9b}";
    let register = json!({"organization_name": wrong, "first_name": wrong, "last_name": wrong,
        "email": "a@example.org", "password": "a quite new password 7"});
    let answer = send(quiet().anonymous(Method::POST, "/v1/auth/register").json(&register)).await;
    expect_faults(
        &answer,
        &["first_name: invalid", "last_name: invalid", "organization_name: invalid"],
    );
    for (method, path, body, faults) in [
        (
            Method::PATCH,
            "/v1/tenant",
            json!({"organization_name": wrong}),
            &["organization_name: invalid"][..],
        ),
        (
            Method::POST,
            "/v1/branches",
            json!({"name": wrong, "timezone": "UTC"}),
            &["name: invalid"],
        ),
        (Method::POST, "/v1/roles", json!({"name": wrong, "permissions": []}), &["name: invalid"]),
        (
            Method::POST,
            "/v1/api-keys",
            json!({"name": wrong, "permissions": []}),
            &["name: invalid"],
        ),
        (
            Method::POST,
            "/v1/staff",
            json!({"email": "b@example.org", "first_name": wrong, "last_name": wrong, "role": wrong}),
            &["first_name: invalid", "last_name: invalid", "role: invalid"],
        ),
    ] {
        let answer = owner.call(method, path, Some(body)).await;
        assert_eq!(
            answer.faults().iter().filter(|fault| faults.contains(&fault.as_str())).count(),
            faults.len(),
            "{path}: {}",
            answer.body
        );
        answer.expect_problem(422, "validation_failed");
    }
    quiet().expect_untouched().await;
}
