//! The queue of parked events: several replicas work it, and nobody in it stands in another's way.

use narthex::app::App;

use super::{CONTACT, NUMBER, OTHER_NUMBER, church, receipt, texts};
use crate::support::{Staff, TestApp, eventually};

/// Parks this many events of a tenant, one after another, and keeps the job away from them.
async fn park(app: &TestApp, staff: &Staff, number: &str, count: usize) {
    let status = async |status: &str| {
        let sql =
            format!("UPDATE tenants SET status = '{status}' WHERE id = '{}'", staff.tenant_id);
        app.registry_execute(&sql).await;
        app.router.directory().forget(staff.tenant_id);
    };
    status("suspended").await;
    for i in 0..count {
        let event = app.provider.sms(CONTACT, number, &format!("{i:02}"));
        assert_eq!(receipt(app.provider.send(&event).await), "parked");
        app.registry_execute("UPDATE parked_events SET next_attempt_at = 'infinity'").await;
    }
    status("active").await;
}

const DUE: &str = "UPDATE parked_events SET next_attempt_at = received_at";

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{i:02}")).collect()
}

#[tokio::test]
async fn two_replicas_never_take_the_same_event() {
    let app = TestApp::start().await;
    let replica = app.replica().await;
    let staff = church(&app, NUMBER).await;
    park(&app, &staff, NUMBER, 60).await;
    app.registry_execute(&format!(
        "CREATE TABLE taken (id uuid, up boolean);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO taken VALUES (new.id, new.updated_at <> old.updated_at); RETURN NULL; END';
         CREATE TRIGGER note AFTER UPDATE OF attempts ON parked_events FOR EACH ROW EXECUTE FUNCTION note();
         {DUE}"
    ))
    .await;
    let work = |telnyx: &narthex::webhooks::telnyx::TelnyxWebhooks| {
        let telnyx = telnyx.clone();
        async move { while telnyx.deliver_parked().await.unwrap() > 0 {} }
    };
    tokio::join!(
        work(&app.telnyx),
        work(&replica.telnyx),
        work(&app.telnyx),
        work(&replica.telnyx)
    );
    eventually("the queue is empty", async || {
        app.registry_count("SELECT count(*) FROM parked_events").await == 0
    })
    .await;
    assert_eq!(texts(&staff).await, numbered(60));
    // Taken up again before it was put off: an event that met a slow server may be, after that.
    let twice = "SELECT count(*) FROM (SELECT id FROM taken GROUP BY id
        HAVING count(*) FILTER (WHERE up) > count(*) FILTER (WHERE NOT up) + 1) t";
    assert_eq!(app.registry_count(twice).await, 0);
    assert!(app.registry_count("SELECT count(*) FROM taken").await > 0);
}

#[tokio::test]
async fn a_tenant_that_does_not_answer_holds_up_nobody() {
    let app = TestApp::start().await;
    let (dead, live) = (church(&app, NUMBER).await, church(&app, OTHER_NUMBER).await);
    park(&app, &dead, NUMBER, 6).await;
    park(&app, &live, OTHER_NUMBER, 1).await;
    let mut holder = app.cluster.connect(&dead.database()).await;
    sqlx::Executor::execute(&mut holder, "BEGIN; LOCK TABLE conversations").await.unwrap();
    app.registry_execute(DUE).await;
    // One after another, six statements would run into their time limit of 10 s first.
    eventually("the other tenant has its message", async || texts(&live).await == ["00"]).await;
    sqlx::Executor::execute(&mut holder, "ROLLBACK").await.unwrap();
    eventually("both have theirs", async || texts(&dead).await == numbered(6)).await;
}

#[tokio::test]
async fn more_events_than_a_batch_are_worked_off_in_one_go() {
    let app = TestApp::start().await;
    let staff = church(&app, NUMBER).await;
    park(&app, &staff, NUMBER, 45).await;
    // The job of this application must be out of the way; its rooms are opened again without one.
    app.life.stop();
    eventually("the application has ended", async || app.served.is_finished()).await;
    let rooms = App::open(app.settings.clone(), app.clock.clone()).await.unwrap();
    app.registry_execute(DUE).await;
    assert_eq!(rooms.telnyx.deliver_parked().await.unwrap(), 45);
    let stored = "SELECT count(*) FROM conversation_messages";
    assert_eq!(app.cluster.count(&staff.database(), stored).await, 45);
    rooms.close().await;
}
