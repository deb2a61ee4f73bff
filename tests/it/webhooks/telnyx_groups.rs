//! A message to several numbers: each tenant gets it as if it were alone, and sees who else did.

use serde_json::{Value, json};
use sqlx::Executor;

use super::{CONTACT, NUMBER, OTHER_NUMBER, church, conversations, messages, receipt, texts};
use crate::support::{Staff, TestApp, eventually};

const THIRD_NUMBER: &str = "+13125550133";
const FOREIGN_NUMBER: &str = "+442079460000";

/// An SMS to these numbers, the first as its recipient, the others in copy.
fn group(app: &TestApp, numbers: &[&str]) -> Value {
    let mut event = app.provider.sms(CONTACT, numbers[0], "To all");
    event["data"]["payload"]["cc"] =
        numbers[1..].iter().map(|number| json!({"phone_number": number})).collect();
    event
}

/// Keeps a tenant's database from answering, until the connection is dropped.
async fn hang(app: &TestApp, staff: &Staff) -> sqlx::PgConnection {
    let mut holder = app.cluster.connect(&staff.database()).await;
    holder.execute("BEGIN; LOCK TABLE conversations").await.unwrap();
    holder
}

#[tokio::test]
async fn a_group_message_is_with_the_healthy_tenant_at_once_while_two_others_hang() {
    let app = TestApp::start().await;
    let numbers = [NUMBER, OTHER_NUMBER, THIRD_NUMBER];
    let (a, b) = (church(&app, NUMBER).await, church(&app, OTHER_NUMBER).await);
    let healthy = church(&app, THIRD_NUMBER).await;
    let (mut first, mut second) = (hang(&app, &a).await, hang(&app, &b).await);
    assert_eq!(receipt(app.provider.send(&group(&app, &numbers)).await), "parked");
    assert_eq!(texts(&healthy).await, ["To all"]);
    // What was parked earlier is no different: its next attempt waits for none of the others.
    app.registry_execute("UPDATE parked_events SET next_attempt_at = now()").await;
    for holder in [&mut first, &mut second] {
        holder.execute("ROLLBACK").await.unwrap();
    }
    eventually("all have it", async || {
        app.registry_count("SELECT count(*) FROM parked_events").await == 0
    })
    .await;
    for staff in [&a, &b, &healthy] {
        assert_eq!(texts(staff).await, ["To all"]);
    }
}

#[tokio::test]
async fn a_tenant_that_refuses_for_good_uses_up_no_attempt_of_one_that_is_away() {
    let app = TestApp::start().await;
    let (away, refusing) = (church(&app, NUMBER).await, church(&app, OTHER_NUMBER).await);
    let status = async |status: &str| {
        let sql = format!("UPDATE tenants SET status = '{status}' WHERE id = '{}'", away.tenant_id);
        app.registry_execute(&sql).await;
        app.router.directory().forget(away.tenant_id);
    };
    status("suspended").await;
    app.cluster.execute(&refusing.database(), "DROP TABLE conversations CASCADE").await;
    assert_eq!(receipt(app.provider.send(&group(&app, &[NUMBER, OTHER_NUMBER])).await), "parked");
    for _ in 0..12 {
        app.clock.advance(chrono::TimeDelta::minutes(2));
        app.telnyx.deliver_parked().await.unwrap();
    }
    let waiting = "SELECT count(*) FROM parked_events WHERE status = 'waiting'";
    assert_eq!(app.registry_count(waiting).await, 1, "given up while a tenant was only away");
    status("active").await;
    app.clock.advance(chrono::TimeDelta::minutes(2));
    app.telnyx.deliver_parked().await.unwrap();
    let stored = "SELECT body FROM conversation_messages";
    eventually("it is delivered", async || {
        app.cluster.texts(&away.database(), stored).await == ["To all"]
    })
    .await;
}

#[tokio::test]
async fn the_other_recipients_of_a_group_message_are_kept_with_it() {
    let app = TestApp::start().await;
    let (a, b) = (church(&app, NUMBER).await, church(&app, OTHER_NUMBER).await);
    let event = group(&app, &[NUMBER, FOREIGN_NUMBER, OTHER_NUMBER]);
    assert_eq!(receipt(app.provider.send(&event).await), "accepted");
    assert_eq!(receipt(app.provider.send(&event).await), "duplicate");
    let recipients = async |staff: &Staff| {
        messages(staff, &conversations(staff).await[0]).await[0]["recipients"].clone()
    };
    assert_eq!(recipients(&a).await, json!([FOREIGN_NUMBER, OTHER_NUMBER]));
    assert_eq!(recipients(&b).await, json!([NUMBER, FOREIGN_NUMBER]));
    app.provider.send(&app.provider.sms(CONTACT, NUMBER, "To one")).await.expect(200);
    assert_eq!(recipients(&a).await, json!([]));
}
