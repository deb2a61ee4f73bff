//! `narthex deliveries`: seen and taken up again by people.

use serde_json::Value;

use super::CliFixture;

/// A place with a delivery that has failed and one that is completed.
async fn place() -> CliFixture {
    let place = CliFixture::migrated().await;
    place.cluster.execute(&place.database, "
        INSERT INTO webhook_deliveries (provider, delivery_id, event_type, sealed_body, status, attempts, next_attempt_at, reason, received_at, finished_at)
        VALUES ('clerk', 'msg_failed', 'user.created', '\\x00', 'failed', 12, now(), 'it took too long', now(), now()),
               ('clerk', 'msg_done', 'user.updated', NULL, 'completed', 1, now(), NULL, now(), now())").await;
    place
}

async fn listed(place: &CliFixture, arguments: &[&str]) -> Vec<String> {
    let arguments = [&["deliveries", "list", "--json"], arguments].concat();
    let rows: Value = serde_json::from_str(&place.run(&arguments).await.expect(0)).unwrap();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| {
        format!(
            "{} {} {} {}",
            text(row, "id"),
            text(row, "event"),
            text(row, "status"),
            row["attempts"]
        )
    };
    let mut rows: Vec<_> = rows.as_array().unwrap().iter().map(row).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn deliveries_are_listed_and_failed_ones_replayed() {
    let place = place().await;
    let failed = "msg_failed user.created failed 12";
    assert_eq!(listed(&place, &[]).await, ["msg_done user.updated completed 1", failed]);
    assert_eq!(listed(&place, &["--failed"]).await, [failed]);
    let table = place.run(&["deliveries", "list"]).await.expect(0);
    for text in ["msg_failed", "it took too long", "2 delivery(ies)"] {
        assert!(table.contains(text), "{text} is missing in\n{table}");
    }
    let replay = async |id: &str| place.run(&["deliveries", "replay", id]).await;
    assert!(replay("msg_failed").await.expect(0).contains("msg_failed will be worked on again"));
    assert_eq!(listed(&place, &["--failed"]).await, Vec::<String>::new());
    replay("msg_failed").await.expect_error(1, &["msg_failed has not failed"]);
    replay("msg_done").await.expect_error(1, &["msg_done has not failed"]);
    replay("msg_nobody").await.expect_error(1, &["`msg_nobody`", "deliveries list --failed"]);
}

#[tokio::test]
async fn all_failed_deliveries_can_be_replayed_at_once() {
    let place = place().await;
    let all = ["deliveries", "replay", "--all-failed"];
    assert!(place.run(&all).await.expect(0).starts_with("1 delivery(ies) will be"));
    assert!(place.run(&all).await.expect(0).starts_with("0 delivery(ies) will be"));
    place.run(&["deliveries", "replay"]).await.expect_error(2, &["<ID>"]);
}

/// One delivery that cannot be opened must not keep the others from their replay.
#[tokio::test]
async fn a_delivery_that_does_not_open_does_not_stand_before_the_others() {
    let place = place().await;
    let broken = "UPDATE webhook_deliveries SET event_type = 'organization.created' WHERE delivery_id = 'msg_failed';
         INSERT INTO webhook_deliveries SELECT provider, 'msg_other', 'user.created', sealed_body, status, attempts,
             next_attempt_at, reason, received_at - interval '1 s', finished_at
         FROM webhook_deliveries WHERE delivery_id = 'msg_failed'";
    place.cluster.execute(&place.database, broken).await;
    let all = ["deliveries", "replay", "--all-failed"];
    assert!(place.run(&all).await.expect(0).starts_with("2 delivery(ies) will be"));
}
