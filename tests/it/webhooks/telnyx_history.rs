//! A number passes from one tenant to another: an event belongs to whoever held it when it occurred.

use chrono::{DateTime, Utc};
use narthex::identifiers::PhoneNumber;
use narthex::registry::phone_numbers;
use rstest::rstest;

use super::{NUMBER, church, receipt, sms_at, texts};
use crate::support::{Staff, TestApp};

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
    let number: PhoneNumber = NUMBER.parse().unwrap();
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
