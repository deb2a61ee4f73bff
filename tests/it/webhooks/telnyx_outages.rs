//! What nobody can store is left to the sender, and what can never be stored to a person.

use chrono::TimeDelta;
use narthex::registry::inbox::parked_events::{self, ParkedEvent, Status};
use rstest::rstest;

use super::{CONTACT, NUMBER, OTHER_NUMBER, church, receipt, texts};
use crate::support::{TestApp, TestCluster, eventually, own_cluster};

#[tokio::test]
async fn without_the_registry_the_sender_has_to_come_again() {
    let mut cluster = own_cluster().await;
    let app = TestApp::start_on(TestCluster::of(&cluster), Box::new(|_| {})).await;
    let staff = church(&app, NUMBER).await;
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    cluster.crash().await.unwrap();
    app.provider.send(&event).await.expect_problem(503, "not_stored");
    cluster.restart().await.unwrap();
    eventually("the event is taken", async || app.provider.send(&event).await.status == 200).await;
    eventually("it is delivered", async || texts(&staff).await == ["Hello"]).await;
    assert_eq!(receipt(app.provider.send(&event).await), "duplicate");
}

async fn parked(app: &TestApp) -> Vec<ParkedEvent> {
    let db = app.registry.connect().await.unwrap();
    parked_events::list(&db).await.unwrap()
}

/// Lets time pass, and the job with it, until nothing waits any more.
async fn exhaust_patience(app: &TestApp) {
    eventually("nothing waits any more", async || {
        app.clock.advance(TimeDelta::minutes(2));
        app.telnyx.deliver_parked().await.unwrap();
        parked(app).await.iter().all(|event| event.status == Status::Failed)
    })
    .await;
}

#[rstest]
#[case::a_table_is_missing("DROP TABLE conversations CASCADE")]
#[case::a_right_is_missing("REVOKE INSERT ON conversation_messages FROM narthex_tenant")]
#[case::a_constraint_refuses("ALTER TABLE conversation_messages ADD CHECK (body <> 'Hello')")]
#[tokio::test]
async fn what_a_tenants_database_refuses_for_good_is_kept_for_a_person(#[case] sabotage: &str) {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    app.cluster.execute(&staff.database(), sabotage).await;
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    assert_eq!(receipt(app.provider.send(&event).await), "parked");
    exhaust_patience(&app).await;
    let [kept] = &parked(&app).await[..] else { panic!("not one event") };
    assert_eq!((kept.reason.as_str(), kept.attempts), ("statement_failed", 8));
    let body = parked_events::open_body(app.registry.sealer(), kept).unwrap();
    assert_eq!(body, event.to_string().as_bytes());
    let recorded = "SELECT count(*) FROM inbound_events";
    assert_eq!(app.cluster.count(&staff.database(), recorded).await, 0, "half of it was written");
}

#[tokio::test]
async fn a_long_wait_for_a_number_uses_up_no_attempt_at_the_tenant() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    assert_eq!(receipt(app.provider.send(&event).await), "parked");
    app.registry_execute("UPDATE parked_events SET attempts = 20").await;
    let rename = |from: &str, to: &str| format!("ALTER TABLE {from} RENAME TO {to}");
    let database = staff.database();
    app.cluster.execute(&database, &rename("conversations", "away")).await;
    app.assign_number(NUMBER, staff.tenant_id).await;
    eventually("the tenant has refused once", async || {
        parked(&app).await[0].reason == "statement_failed"
    })
    .await;
    assert_eq!(parked(&app).await[0].status, Status::Waiting);
    app.cluster.execute(&database, &rename("away", "conversations")).await;
    eventually("the event is delivered", async || parked(&app).await.is_empty()).await;
    assert_eq!(texts(&staff).await, ["Hello"]);
}

#[rstest]
#[case::altered("overlay(sealed_body placing '\\x00' from length(sealed_body))")]
#[case::cut_off("substring(sealed_body from 1 for 5)")]
#[case::empty("''::bytea")]
#[case::of_another_event(
    "(SELECT sealed_body FROM parked_events o WHERE o.id <> parked_events.id)"
)]
#[tokio::test]
async fn an_event_that_was_tampered_with_fails_alone(#[case] tampered: &str) {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let spoilt = app.provider.sms(CONTACT, OTHER_NUMBER, "spoilt");
    let sound = app.provider.sms(CONTACT, NUMBER, "sound");
    for event in [&spoilt, &sound] {
        assert_eq!(receipt(app.provider.send(event).await), "parked");
    }
    app.registry_execute(&format!(
        "UPDATE parked_events SET sealed_body = {tampered} WHERE provider_event_id LIKE '{}#%'",
        spoilt["data"]["id"].as_str().unwrap()
    ))
    .await;
    app.assign_number(OTHER_NUMBER, staff.tenant_id).await;
    app.assign_number(NUMBER, staff.tenant_id).await;
    eventually("the sound one is delivered", async || texts(&staff).await == ["sound"]).await;
    exhaust_patience(&app).await;
    assert_eq!(parked(&app).await.len(), 1);
    assert!(!app.life.is_stopping(), "the job has ended");
}

#[tokio::test]
async fn after_thirty_days_nobody_waits_for_a_number_any_more() {
    let app = TestApp::start().await;
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    assert_eq!(receipt(app.provider.send(&event).await), "parked");
    app.clock.advance(TimeDelta::days(31));
    eventually("it is given up", async || parked(&app).await[0].status == Status::Failed).await;
    assert_eq!(parked(&app).await[0].reason, "unknown_number");
}

/// Nobody gives up what another replica can read.
#[tokio::test]
async fn an_event_sealed_under_a_key_that_this_process_has_not_is_left_to_others() {
    let app = TestApp::start().await;
    let event = app.provider.sms(CONTACT, NUMBER, "sealed under another key");
    assert_eq!(receipt(app.provider.send(&event).await), "parked");
    let another = "UPDATE parked_events SET next_attempt_at = now(), sealed_body = overlay(sealed_body placing '\\x00000000'::bytea from 2)";
    for _ in 0..8 {
        app.registry_execute(another).await;
        app.clock.advance(TimeDelta::minutes(2));
        app.telnyx.deliver_parked().await.unwrap();
    }
    let kept = parked(&app).await;
    assert_eq!((kept.len(), kept[0].status), (1, Status::Waiting));
    assert_eq!(kept[0].reason, "unknown_number");
}
