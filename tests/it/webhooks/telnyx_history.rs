//! A number passes from one tenant to another: an event belongs to whoever held it when it occurred.

use chrono::{DateTime, TimeDelta, Utc};
use narthex::audit::Actor;
use narthex::identifiers::LineNumber;
use narthex::registry::tenants::phone_numbers;
use rstest::rstest;

use super::{NUMBER, church, receipt, sms_at, texts};
use crate::support::{Staff, TestApp, eventually};

/// From 10:00 to 11:00 the number is of the first tenant, from 12:00 on of the second.
async fn passed_on(app: &TestApp) -> (Staff, Staff) {
    let (a, b) = (app.register().await, app.register().await);
    app.registry_execute(&format!(
        "INSERT INTO phone_numbers (id, number, tenant_id, valid_from, valid_until) VALUES
         (gen_random_uuid(), '{NUMBER}', '{}', '2026-03-01 10:00Z', '2026-03-01 11:00Z'),
         (gen_random_uuid(), '{NUMBER}', '{}', '2026-03-01 12:00Z', NULL)",
        a.tenant_id, b.tenant_id
    ))
    .await;
    (a, b)
}

#[rstest]
#[case::before_anybody("09:59:59.999", "accepted", 1, 0)]
#[case::at_the_first_moment("10:00:00.000", "accepted", 1, 0)]
#[case::in_the_time_of_the_first("10:30:00.000", "accepted", 1, 0)]
#[case::at_the_last_moment("10:59:59.999", "accepted", 1, 0)]
#[case::at_the_release("11:00:00.000", "parked", 0, 0)]
#[case::in_the_gap("11:30:00.000", "parked", 0, 0)]
#[case::at_the_second_assignment("12:00:00.000", "accepted", 0, 1)]
#[case::in_the_time_of_the_second("13:00:00.000", "accepted", 0, 1)]
#[tokio::test]
async fn an_event_goes_to_the_holder_of_its_time(
    #[case] time: &str,
    #[case] expected: &str,
    #[case] at_first: usize,
    #[case] at_second: usize,
) {
    let app = TestApp::start().await;
    let (a, b) = passed_on(&app).await;
    let at: DateTime<Utc> = format!("2026-03-01T{time}Z").parse().unwrap();
    assert_eq!(receipt(app.provider.send(&sms_at(NUMBER, "Hello", at)).await), expected);
    // What is parked has its further chances, and may not take one.
    app.registry_execute("UPDATE parked_events SET next_attempt_at = now() - interval '1 minute'")
        .await;
    app.telnyx.deliver_parked().await.unwrap();
    assert_eq!((texts(&a).await.len(), texts(&b).await.len()), (at_first, at_second));
}

/// The sender's clock may be wrong: an event of tomorrow belongs to the holder of today.
#[tokio::test]
async fn an_event_from_the_future_goes_to_the_present_holder() {
    let app = TestApp::start().await;
    let (_, b) = passed_on(&app).await;
    let event = sms_at(NUMBER, "Hello", app.clock.now() + chrono::TimeDelta::days(400));
    assert_eq!(receipt(app.provider.send(&event).await), "accepted");
    assert_eq!(texts(&b).await, ["Hello"]);
}

#[tokio::test]
async fn a_released_number_can_be_given_to_another_tenant_and_a_held_one_cannot() {
    let app = TestApp::start().await;
    let (a, b) = (church(&app, NUMBER).await, app.register().await);
    let number: LineNumber = NUMBER.parse().unwrap();
    let db = app.registry.connect().await.unwrap();
    let now = || app.clock.now();
    let refused = phone_numbers::assign(&db, &number, b.tenant_id, now()).await.unwrap();
    assert_eq!(refused, Err(phone_numbers::NotAssigned::Taken(a.tenant_id)));
    assert!(!phone_numbers::release(&db, &number, b.tenant_id, now()).await.unwrap());
    assert!(phone_numbers::release(&db, &number, a.tenant_id, now()).await.unwrap());
    phone_numbers::assign(&db, &number, b.tenant_id, now()).await.unwrap().unwrap();

    // The provider counts in milliseconds: what is written now could lie before the assignment.
    let event = sms_at(NUMBER, "now", now() + chrono::TimeDelta::seconds(1));
    assert_eq!(receipt(app.provider.send(&event).await), "accepted");
    assert_eq!((texts(&a).await.len(), texts(&b).await.len()), (0, 1));
}

/// Gives a number as the command and the API do. Returns how many events are announced to come.
async fn assign(app: &TestApp, staff: &Staff) -> u64 {
    let origin = Actor::command("test").into();
    let number = NUMBER.parse().unwrap();
    app.tenants.assign_number(staff.tenant_id, &number, &origin).await.unwrap()
}

async fn release(app: &TestApp, staff: &Staff) {
    let origin = Actor::command("test").into();
    let number = NUMBER.parse().unwrap();
    assert!(app.tenants.release_number(staff.tenant_id, &number, &origin).await.unwrap());
}

const WAITING: &str = "SELECT count(*) FROM parked_events";

#[tokio::test]
async fn a_number_given_back_to_its_tenant_brings_the_messages_of_the_gap_as_announced() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    assert_eq!(assign(&app, &staff).await, 0);
    app.clock.advance(TimeDelta::minutes(1));
    release(&app, &staff).await;
    app.clock.advance(TimeDelta::minutes(1));
    for text in ["gap 1", "gap 2"] {
        let event = sms_at(NUMBER, text, app.clock.now());
        assert_eq!(receipt(send(&app, &event).await), "parked");
    }
    app.clock.advance(TimeDelta::minutes(1));
    assert_eq!(assign(&app, &staff).await, 2);
    eventually("both are delivered", async || app.registry_count(WAITING).await == 0).await;
    assert_eq!(texts(&staff).await, ["gap 1", "gap 2"]);
}

#[tokio::test]
async fn what_came_between_two_tenants_is_announced_to_neither_and_reaches_neither() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    assign(&app, &a).await;
    app.clock.advance(TimeDelta::minutes(1));
    release(&app, &a).await;
    app.clock.advance(TimeDelta::minutes(1));
    let event = sms_at(NUMBER, "gap", app.clock.now());
    assert_eq!(receipt(send(&app, &event).await), "parked");
    app.clock.advance(TimeDelta::minutes(1));
    assert_eq!(assign(&app, &b).await, 0, "an event is announced that does not come");
    app.clock.advance(TimeDelta::minutes(5));
    app.telnyx.deliver_parked().await.unwrap();
    assert_eq!((texts(&a).await.len(), texts(&b).await.len()), (0, 0));
    assert_eq!(app.registry_count(WAITING).await, 1);
    // Back with its first tenant the gap is still between two tenants.
    release(&app, &b).await;
    assert_eq!(assign(&app, &a).await, 0);
}

/// The provider's clock is 0.7 s behind ours.
#[tokio::test]
async fn a_message_right_after_a_number_was_given_goes_to_its_holder() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    assign(&app, &a).await;
    app.clock.advance(TimeDelta::minutes(1));
    release(&app, &a).await;
    app.clock.advance(TimeDelta::minutes(1));
    let gap = sms_at(NUMBER, "before", app.clock.now());
    assert_eq!(receipt(send(&app, &gap).await), "parked");
    app.clock.advance(TimeDelta::seconds(60));
    assert_eq!(assign(&app, &b).await, 0);
    let at = app.clock.now() - TimeDelta::milliseconds(700);
    assert_eq!(receipt(send(&app, &sms_at(NUMBER, "after", at)).await), "accepted");
    assert_eq!((texts(&a).await.len(), texts(&b).await), (0, vec!["after".to_owned()]));
}

/// Two replicas whose clocks differ give and take a number within a moment.
#[tokio::test]
async fn a_number_can_be_released_and_given_by_a_clock_that_is_behind() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    assign(&app, &a).await;
    app.clock.advance(-TimeDelta::seconds(2));
    release(&app, &a).await;
    app.clock.advance(-TimeDelta::seconds(2));
    assert_eq!(assign(&app, &b).await, 0);
    let overlapping = "SELECT count(*) FROM phone_numbers x JOIN phone_numbers y
        ON x.number = y.number AND x.id <> y.id AND x.valid_from <= y.valid_from AND y.valid_from < x.valid_until";
    assert_eq!(app.registry_count(overlapping).await, 0);
}

/// Signs with the application's clock, which is not the machine's here.
async fn send(app: &TestApp, event: &serde_json::Value) -> crate::support::Answer {
    let (body, now) = (event.to_string(), app.clock.now().timestamp());
    let signature = app.provider.sign(now, body.as_bytes());
    app.provider.send_raw(&[&signature], &[&now.to_string()], body.as_bytes()).await
}
