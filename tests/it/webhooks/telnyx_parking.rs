//! Events that wait for their tenant: for its number, its return, its database.

use rstest::rstest;

use super::{CONTACT, NUMBER, OTHER_NUMBER, church, receipt, texts};
use crate::support::{Staff, TestApp, eventually};

/// Parked events in all.
async fn parked(app: &TestApp) -> i64 {
    app.registry_count("SELECT count(*) FROM parked_events").await
}

async fn reason(app: &TestApp) -> Vec<String> {
    let sql = "SELECT reason FROM parked_events ORDER BY received_at";
    app.cluster.texts(&app.registry_database, sql).await
}

async fn set_status(app: &TestApp, staff: &Staff, status: &str) {
    app.registry_execute(&format!(
        "UPDATE tenants SET status = '{status}' WHERE id = '{}'",
        staff.tenant_id
    ))
    .await;
    app.router.directory().forget(staff.tenant_id);
}

/// Lets nobody into a tenant's database, or everybody in again who may.
async fn open_database(app: &TestApp, staff: &Staff, open: bool) {
    let database = staff.database();
    let sql = format!(
        "ALTER DATABASE {database} WITH ALLOW_CONNECTIONS {open};
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' AND NOT {open}"
    );
    // One statement at a time: ALTER DATABASE takes effect for others with its commit.
    for statement in sql.split(';') {
        app.cluster.execute("postgres", statement).await;
    }
}

#[tokio::test]
async fn an_event_for_an_unknown_number_is_parked_and_sealed() {
    let app = TestApp::start().await;
    let event = app.provider.sms(CONTACT, NUMBER, "a very private word");
    assert_eq!(receipt(app.provider.send(&event).await), "parked");
    assert_eq!(reason(&app).await, ["unknown_number"]);
    let id = event["data"]["id"].as_str().unwrap();
    assert!(app.cluster.holds(&app.registry_database, id).await, "the search finds nothing at all");
    for secret in ["a very private word", "private", CONTACT, &CONTACT[1..], NUMBER] {
        assert!(!app.cluster.holds(&app.registry_database, secret).await, "`{secret}` is in clear");
    }
}

#[tokio::test]
async fn a_parked_event_that_comes_again_stays_one() {
    let app = TestApp::start().await;
    let mut event = app.provider.sms(CONTACT, NUMBER, "Hello");
    for attempt in 1..4 {
        event["meta"]["attempt"] = attempt.into();
        assert_eq!(receipt(app.provider.send(&event).await), "parked");
    }
    assert_eq!(parked(&app).await, 1);
}

#[tokio::test]
async fn a_parked_event_is_delivered_by_itself_once_its_number_is_assigned() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    let foreign = app.provider.sms(CONTACT, OTHER_NUMBER, "for somebody else");
    for event in [&event, &foreign] {
        assert_eq!(receipt(app.provider.send(event).await), "parked");
    }
    app.assign_number(NUMBER, staff.tenant_id).await;
    eventually("the event is delivered", async || texts(&staff).await == ["Hello"]).await;
    eventually("its row is gone", async || parked(&app).await == 1).await;
    assert_eq!(receipt(app.provider.send(&event).await), "duplicate");
    assert_eq!((texts(&staff).await.len(), parked(&app).await), (1, 1));
}

#[tokio::test]
async fn events_wait_for_a_database_that_is_away() {
    // Were it the router that ends the waiting, it would be much too late.
    let app = TestApp::start_with(Box::new(|settings| {
        settings.router.acquire_timeout = std::time::Duration::from_secs(20);
    }))
    .await;
    let (staff, other) = (church(&app, NUMBER).await, church(&app, OTHER_NUMBER).await);
    // One connection is open and will be cut; the next one is refused.
    app.provider.send(&app.provider.sms(CONTACT, NUMBER, "before")).await.expect(200);
    open_database(&app, &staff, false).await;
    for text in ["during 1", "during 2"] {
        let begun = std::time::Instant::now();
        let answer = app.provider.send(&app.provider.sms(CONTACT, NUMBER, text)).await;
        assert_eq!(receipt(answer), "parked");
        assert!(begun.elapsed().as_secs() < 5, "the provider, who waits 2 s, has given up");
    }
    for reason in reason(&app).await {
        assert!(["tenant_unavailable", "deadline_passed"].contains(&reason.as_str()), "{reason}");
    }
    let answer = app.provider.send(&app.provider.sms(CONTACT, OTHER_NUMBER, "elsewhere")).await;
    assert_eq!(receipt(answer), "accepted", "the other tenant notices nothing");

    open_database(&app, &staff, true).await;
    eventually("the events are delivered", async || parked(&app).await == 0).await;
    assert_eq!(texts(&staff).await, ["before", "during 1", "during 2"]);
    assert_eq!(texts(&other).await, ["elsewhere"]);
}

#[tokio::test]
async fn events_wait_for_a_database_that_does_not_answer() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    let mut holder = app.cluster.connect(&staff.database()).await;
    sqlx::Executor::execute(&mut holder, "BEGIN; LOCK TABLE conversations").await.unwrap();
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    // Nothing but the deadline ends the waiting: the lock is still there.
    assert_eq!(receipt(app.provider.send(&event).await), "parked");
    assert_eq!(reason(&app).await, ["deadline_passed"]);
    sqlx::Executor::execute(&mut holder, "ROLLBACK").await.unwrap();
    eventually("the event is delivered", async || parked(&app).await == 0).await;
    assert_eq!(texts(&staff).await, ["Hello"]);
}

#[rstest]
#[case("suspended")]
#[case("provisioning")]
#[case("deleted")]
#[tokio::test]
async fn events_wait_for_a_tenant_that_is_not_active(#[case] status: &str) {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    set_status(&app, &staff, status).await;
    let event = app.provider.sms(CONTACT, NUMBER, "Hello");
    assert_eq!(receipt(app.provider.send(&event).await), "parked");
    assert_eq!(reason(&app).await, ["tenant_not_active"]);
    let inside = "SELECT count(*) FROM conversation_messages";
    assert_eq!(app.cluster.count(&staff.database(), inside).await, 0);
    set_status(&app, &staff, "active").await;
    eventually("the event is delivered", async || parked(&app).await == 0).await;
    assert_eq!(texts(&staff).await, ["Hello"]);
}

#[tokio::test]
async fn a_group_message_waits_for_the_last_of_its_tenants() {
    let app = TestApp::start().await;
    let (a, b) = (church(&app, NUMBER).await, church(&app, OTHER_NUMBER).await);
    open_database(&app, &b, false).await;
    let mut event = app.provider.sms(CONTACT, NUMBER, "To all");
    event["data"]["payload"]["cc"] = serde_json::json!([{"phone_number": OTHER_NUMBER}]);
    assert_eq!(receipt(app.provider.send(&event).await), "parked");
    assert_eq!(texts(&a).await, ["To all"]);
    open_database(&app, &b, true).await;
    eventually("the event is delivered", async || parked(&app).await == 0).await;
    assert_eq!((texts(&a).await.len(), texts(&b).await), (1, vec!["To all".to_owned()]));
}

#[tokio::test]
async fn a_group_message_waits_for_no_tenant_that_cannot_take_it() {
    let app = TestApp::start().await;
    let (a, b) = (church(&app, NUMBER).await, church(&app, OTHER_NUMBER).await);
    set_status(&app, &a, "suspended").await;
    let mut event = app.provider.sms(CONTACT, NUMBER, "To all");
    event["data"]["payload"]["cc"] = serde_json::json!([{"phone_number": OTHER_NUMBER}]);
    assert_eq!(receipt(app.provider.send(&event).await), "parked");
    assert_eq!(texts(&b).await, ["To all"]);
    set_status(&app, &a, "active").await;
    eventually("the event is delivered", async || parked(&app).await == 0).await;
    assert_eq!((texts(&a).await, texts(&b).await.len()), (vec!["To all".to_owned()], 1));
}

#[tokio::test]
async fn a_parked_report_is_delivered_too() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    app.provider.send(&app.provider.sms(CONTACT, NUMBER, "Hello")).await.expect(200);
    app.cluster
        .execute(
            &staff.database(),
            "UPDATE conversation_messages SET direction = 'outbound', status = 'sent', provider_message_id = 'm'",
        )
        .await;
    set_status(&app, &staff, "suspended").await;
    let recipients = [(CONTACT, "delivered")];
    let report = narthex::webhooks::telnyx::sample::delivery(
        "message.finalized",
        "report",
        "m",
        NUMBER,
        &recipients,
        app.clock.now(),
    );
    assert_eq!(receipt(app.provider.send(&report).await), "parked");
    set_status(&app, &staff, "active").await;
    let state = "SELECT status FROM conversation_messages";
    eventually("the report is recorded", async || {
        app.cluster.texts(&staff.database(), state).await == ["delivered"]
    })
    .await;
}
