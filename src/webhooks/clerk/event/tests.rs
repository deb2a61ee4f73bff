use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::webhooks::clerk::sample::{self, SampleOrganization, SampleUser};

fn ada() -> SampleUser {
    SampleUser {
        id: "user_1".to_owned(),
        email: "ada@example.test".to_owned(),
        first_name: "Ada".to_owned(),
        last_name: "Example".to_owned(),
    }
}

fn cafe() -> SampleOrganization {
    SampleOrganization {
        id: "org_1".to_owned(),
        name: "Blue Cafe".to_owned(),
        slug: "blue-cafe".to_owned(),
        created_by: "user_1".to_owned(),
    }
}

fn facts(event: &Value) -> Facts {
    match parse(event.to_string().as_bytes()).unwrap() {
        Event::Known { event_type, facts } => {
            assert_eq!(event_type, event["type"]);
            *facts
        }
        Event::Other => panic!("not followed: {event}"),
    }
}

fn changed(mut event: Value, path: &str, to: Value) -> Value {
    *event.pointer_mut(path).unwrap() = to;
    event
}

const AT: i64 = 1_767_225_600_100;

#[test]
fn a_user_event_tells_the_primary_address_and_the_names() {
    for kind in ["user.created", "user.updated"] {
        for verified in [true, false] {
            let user = facts(&sample::user(kind, &ada(), verified, AT)).user.unwrap();
            assert_eq!((user.id.as_str(), user.deleted), ("user_1", false));
            let profiled = user.profile.unwrap();
            assert!(profiled.authoritative);
            assert_eq!(profiled.version, Version { updated_ms: AT, sent_ms: AT });
            let expected = Profile {
                email: Some("ada@example.test".to_owned()),
                verified,
                first_name: "Ada".to_owned(),
                last_name: "Example".to_owned(),
                banned: false,
            };
            assert_eq!(profiled.profile, expected);
        }
    }
}

#[rstest]
#[case("/data/primary_email_address_id", json!(null))]
#[case("/data/primary_email_address_id", json!("idn_9"))]
#[case("/data/email_addresses", json!([]))]
#[case("/data/email_addresses", json!(null))]
#[case("/data/email_addresses", json!("ada@example.test"))]
#[case("/data/email_addresses/1", json!(7))]
fn a_user_can_be_without_an_address(#[case] path: &str, #[case] to: Value) {
    let event = changed(sample::user("user.created", &ada(), true, AT), path, to);
    let profile = facts(&event).user.unwrap().profile.unwrap().profile;
    assert_eq!((profile.email, profile.verified), (None, false));
    assert_eq!(profile.first_name, "Ada");
}

#[rstest]
#[case(format!("{}@example.test", "a".repeat(180)), true)]
#[case(format!("{}@example.test.elsewhere.test", "a".repeat(187)), true)]
#[case(format!("{}@example.test", "a".repeat(400)), false)]
#[case("ada\u{7}@example.test".to_owned(), false)]
#[case("ada".to_owned(), false)]
fn an_address_is_taken_whole_or_not_at_all(#[case] address: String, #[case] taken: bool) {
    let path = "/data/email_addresses/1/email_address";
    let event = changed(sample::user("user.created", &ada(), true, AT), path, json!(address));
    let profile = facts(&event).user.unwrap().profile.unwrap().profile;
    assert_eq!((profile.email, profile.verified), (taken.then_some(address), taken));
}

#[test]
fn verification_can_be_null() {
    let event = sample::user("user.created", &ada(), true, AT);
    let event = changed(event, "/data/email_addresses/1/verification", json!(null));
    let profile = facts(&event).user.unwrap().profile.unwrap().profile;
    assert_eq!(profile.email.as_deref(), Some("ada@example.test"));
    assert!(!profile.verified);
}

#[test]
fn an_organization_event_tells_name_slug_and_maker() {
    for (kind, created) in [("organization.created", true), ("organization.updated", false)] {
        let organization = facts(&sample::organization(kind, &cafe(), AT)).organization.unwrap();
        assert_eq!(organization.created_seen, created);
        assert_eq!(organization.name.as_deref(), Some("Blue Cafe"));
        assert_eq!(organization.slug.as_deref(), Some("blue-cafe"));
        assert_eq!(organization.created_by.as_deref(), Some("user_1"));
        assert!(!organization.deleted);
    }
    let bare = json!({"type": "organization.created", "data": {"id": "org_1"}});
    let organization = facts(&bare).organization.unwrap();
    assert!(organization.created_seen);
    assert_eq!((organization.name, organization.slug), (None, None));
}

#[test]
fn a_membership_brings_its_organization_and_its_user_along() {
    let event = sample::membership(
        "organizationMembership.created",
        "orgmem_1",
        "org:admin",
        (&cafe(), 5),
        &ada(),
        AT,
    );
    let facts = facts(&event);
    let membership = facts.membership.unwrap();
    assert_eq!(membership.organization.as_deref(), Some("org_1"));
    assert_eq!(membership.user.as_deref(), Some("user_1"));
    assert_eq!((membership.role.as_str(), membership.deleted), ("org:admin", false));
    let organization = facts.organization.unwrap();
    assert_eq!(organization.version.updated_ms, 5, "the time of its own change");
    assert!(!organization.created_seen, "only its own event says that");
    let profiled = facts.user.unwrap().profile.unwrap();
    assert!(!profiled.authoritative && !profiled.profile.verified);
    assert_eq!(profiled.profile.email.as_deref(), Some("ada@example.test"));
}

#[test]
fn a_user_name_is_no_address() {
    let kind = "organizationMembership.created";
    let event = sample::membership(kind, "orgmem_1", "org:member", (&cafe(), 5), &ada(), AT);
    let event = changed(event, "/data/public_user_data/identifier", json!("+13125550100"));
    assert_eq!(facts(&event).user.unwrap().profile.unwrap().profile.email, None);
}

#[test]
fn the_end_of_a_membership_may_come_with_its_id_alone() {
    let kind = "organizationMembership.deleted";
    let bare = json!({"type": kind, "timestamp": AT, "data": {"id": "orgmem_1", "deleted": true}});
    let bare = facts(&bare);
    let membership = bare.membership.unwrap();
    assert!(membership.deleted);
    assert_eq!((membership.organization, membership.user), (None, None));
    assert_eq!((bare.organization, bare.user), (None, None));
    assert_eq!(membership.version.updated_ms, AT);

    let timeless = facts(&json!({"type": kind, "data": {"id": "orgmem_1"}}));
    assert_eq!(timeless.membership.unwrap().version.updated_ms, LATEST_MS);

    let whole = sample::membership(kind, "orgmem_1", "org:member", (&cafe(), 5), &ada(), 9);
    let late = changed(whole, "/timestamp", json!(12));
    assert_eq!(facts(&late).membership.unwrap().version.updated_ms, 12);
}

#[test]
fn ends_of_users_and_organizations_are_short() {
    let user = facts(&sample::deleted("user.deleted", "user_1", AT)).user.unwrap();
    assert!(user.deleted && user.profile.is_none());
    let gone = facts(&sample::deleted("organization.deleted", "org_1", AT)).organization.unwrap();
    assert!(gone.deleted && gone.name.is_none());
}

#[rstest]
#[case(json!(null), AT)]
#[case(json!("1767225600100"), AT)]
#[case(json!(-1), AT)]
#[case(json!(1e300), AT)]
#[case(json!(i64::MAX), AT)]
#[case(json!(7), 7)]
fn where_the_time_of_a_change_is_missing_the_time_of_sending_counts(
    #[case] updated_at: Value,
    #[case] expected: i64,
) {
    let event = sample::user("user.updated", &ada(), true, AT);
    let event = changed(event, "/data/updated_at", updated_at);
    let version = facts(&event).user.unwrap().profile.unwrap().version;
    assert_eq!(version.updated_ms, expected);
}

#[rstest]
#[case("email.created")]
#[case("session.created")]
#[case("organizationInvitation.created")]
#[case("user.createdAtInBetween")]
#[case("")]
fn what_we_do_not_follow_is_left_alone(#[case] kind: &str) {
    let event = json!({"type": kind, "data": {"id": "x"}});
    assert_eq!(parse(event.to_string().as_bytes()), Ok(Event::Other));
}

#[rstest]
#[case("", MalformedEvent::NotAnObject)]
#[case("[]", MalformedEvent::NotAnObject)]
#[case("{", MalformedEvent::NotAnObject)]
#[case("\"user.created\"", MalformedEvent::NotAnObject)]
#[case("{}", MalformedEvent::NoType)]
#[case(r#"{"type": 7, "data": {}}"#, MalformedEvent::NoType)]
#[case(r#"{"type": "user.created"}"#, MalformedEvent::NoType)]
#[case(r#"{"type": "user.created", "data": []}"#, MalformedEvent::NoType)]
#[case(r#"{"type": "user.created", "data": {}}"#, MalformedEvent::NoId)]
#[case(r#"{"type": "user.deleted", "data": {"id": null}}"#, MalformedEvent::NoId)]
#[case(r#"{"type": "user.deleted", "data": {"id": ""}}"#, MalformedEvent::NoId)]
#[case(r#"{"type": "user.deleted", "data": {"id": "a b"}}"#, MalformedEvent::NoId)]
#[case(r#"{"type": "user.deleted", "data": {"id": "a\u0000"}}"#, MalformedEvent::NoId)]
#[case(r#"{"type": "organization.created", "data": {"name": "x"}}"#, MalformedEvent::NoId)]
#[case(r#"{"type": "organizationMembership.created", "data": {"id": "m"}}"#, MalformedEvent::NoId)]
#[case(r#"{"type": "organizationMembership.deleted", "data": {}}"#, MalformedEvent::NoId)]
fn a_body_that_is_no_event_is_told_apart(#[case] body: &str, #[case] expected: MalformedEvent) {
    assert_eq!(parse(body.as_bytes()), Err(expected));
}

#[test]
fn a_body_that_is_no_text_is_no_event() {
    assert_eq!(parse(&[0xff, 0xfe]), Err(MalformedEvent::NotAnObject));
    assert_eq!(parse(&b"[".repeat(100_000)), Err(MalformedEvent::NotAnObject));
}

#[test]
fn long_names_are_cut_and_long_ids_refused() {
    let mut user = ada();
    user.first_name = format!(" A\u{0}\n{}", "x".repeat(500));
    let profile = facts(&sample::user("user.created", &user, true, AT)).user.unwrap().profile;
    let name = profile.unwrap().profile.first_name;
    assert_eq!((name.chars().count(), &name[..2]), (MAX_TEXT_CHARS, "Ax"));
    user.id = "x".repeat(MAX_ID_CHARS + 1);
    let event = sample::user("user.created", &user, true, AT).to_string();
    assert_eq!(parse(event.as_bytes()), Err(MalformedEvent::NoId));
}

proptest! {
    #[test]
    fn members_of_any_type_never_panic(
        kind in prop::sample::select(vec!["user.created", "organization.created", "organizationMembership.deleted"]),
        member in prop::sample::select(vec!["id", "updated_at", "organization", "public_user_data", "email_addresses"]),
        value in prop::sample::select(vec![json!(null), json!(1), json!("x"), json!([1]), json!({"id": 1}), json!(1e300)]),
    ) {
        let event = json!({"type": kind, "timestamp": value, "data": {"id": "x", member: value}});
        let _ = parse(event.to_string().as_bytes());
    }
}
