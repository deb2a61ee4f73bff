//! Parameters of lists: limits, cursors, filters; repeated and unknown ones.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rstest::rstest;

use super::quiet::quiet;

const LISTS: &[&str] = &["/v1/members", "/v1/branches", "/v1/conversations"];

/// A cursor as it might be made up by somebody who knows how ours are built.
fn cursor(micros: i64) -> String {
    URL_SAFE_NO_PAD.encode([micros.to_be_bytes().as_slice(), &[7; 16]].concat())
}

#[rstest]
#[case("limit=-1", "limit: invalid")]
#[case("limit=0", "limit: invalid")]
#[case("limit=201", "limit: invalid")]
#[case("limit=abc", "limit: invalid")]
#[case("limit=1.5", "limit: invalid")]
#[case("limit=", "limit: invalid")]
#[case("limit=99999999999999999999999", "limit: invalid")]
#[case("limit=%D9%A1", "limit: invalid")]
#[case("limit=1%00", "limit: nul_character")]
#[case("limit=1&limit=1", "limit: invalid")]
#[case("cursor=abc&cursor=abc", "cursor: invalid")]
#[case("cursor=", "cursor: invalid")]
#[case("cursor=made-up", "cursor: invalid")]
#[case("cursor=AAAA", "cursor: invalid")]
#[case("cursor=%F0%9F%98%80", "cursor: invalid")]
#[case("cursor=a%00", "cursor: nul_character")]
#[case("cursor=1%27%20OR%201=1", "cursor: invalid")]
#[case(&format!("cursor={}", cursor(i64::MAX)), "cursor: invalid")]
#[case(&format!("cursor={}", cursor(i64::MIN)), "cursor: invalid")]
#[case(&format!("cursor={}", cursor(-1)), "cursor: invalid")]
#[case(&format!("cursor={}", cursor(253_402_300_800_000_000)), "cursor: invalid")]
#[case(&format!("cursor={}AA", cursor(1)), "cursor: invalid")]
#[case(&format!("cursor={}", "A".repeat(5000)), "cursor: invalid")]
#[case("surprise=1", "surprise: unknown_field")]
#[case("Limit=1", "Limit: unknown_field")]
#[case("limit%00=1", "limit\0: nul_character")]
#[case("limit=%FF", "limit: invalid")]
#[case("cursor=%C3%28", "cursor: invalid")]
#[tokio::test]
async fn a_bad_parameter_of_a_list_is_named(#[case] query: &str, #[case] fault: &str) {
    for list in LISTS {
        let answer = quiet().get(&format!("{list}?{query}")).await;
        answer.expect_problem(422, "validation_failed");
        assert!(answer.faults().contains(&fault.to_owned()), "{list}: {}", answer.body);
    }
    quiet().expect_untouched().await;
}

#[rstest]
#[case("/v1/members", "q=%FF", "q: invalid")]
#[case("/v1/members", "q=%00", "q: nul_character")]
#[case("/v1/members", "q=%1B", "q: invalid")]
#[case("/v1/members", "branch_id=7", "branch_id: invalid")]
#[case("/v1/members", "group_id=7", "group_id: invalid")]
#[case("/v1/members", "opted_out=maybe", "opted_out: invalid")]
#[case("/v1/conversations", "status=lost", "status: invalid")]
#[case("/v1/conversations", "assigned_to=me", "assigned_to: invalid")]
#[case("/v1/conversations", "unread=2", "unread: invalid")]
#[tokio::test]
async fn a_bad_filter_is_named(#[case] list: &str, #[case] query: &str, #[case] fault: &str) {
    let answer = quiet().get(&format!("{list}?{query}")).await;
    answer.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), [fault]);
}

#[tokio::test]
async fn all_bad_parameters_are_named_at_once() {
    let query =
        format!("q={}&limit=0&cursor=x&branch_id=x&opted_out=x&surprise=1", "x".repeat(201));
    let answer = quiet().get(&format!("/v1/members?{query}")).await;
    answer.expect_problem(422, "validation_failed");
    let expected = [
        "branch_id: invalid",
        "cursor: invalid",
        "limit: invalid",
        "opted_out: invalid",
        "q: too_long",
        "surprise: unknown_field",
    ];
    assert_eq!(answer.faults(), expected);
}

#[rstest]
#[case("")]
#[case("?")]
#[case("?limit=1")]
#[case("?limit=200")]
#[tokio::test]
async fn the_whole_range_of_limits_is_taken(#[case] query: &str) {
    for list in LISTS {
        quiet().get(&format!("{list}{query}")).await.expect(200);
    }
}

#[tokio::test]
async fn a_made_up_cursor_of_the_right_form_only_names_a_place_in_the_list() {
    let begin = cursor(0);
    let end = cursor(253_402_300_799_000_000);
    for list in LISTS {
        let nothing = quiet().get(&format!("{list}?cursor={begin}")).await.expect(200);
        assert_eq!(nothing["data"], serde_json::json!([]));
        let all = quiet().get(&format!("{list}?cursor={end}")).await.expect(200);
        assert_eq!(all, quiet().get(list).await.expect(200));
    }
}
