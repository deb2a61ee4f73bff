//! `kill -9` between the answer to a delivery and the work on it: what was answered is done after the next start.

use std::time::Duration;

use narthex::webhooks::clerk::sample;
use nix::sys::signal::Signal;

use super::CliFixture;
use super::serving::Serving;
use crate::support::{CLERK_SECRET, clerk_delivery, eventually};
use crate::webhooks::clerk_world::{AT, Organization, member, told};

const ORGANIZATIONS: usize = 4;
const SETTINGS: [(&str, &str); 3] = [
    ("NARTHEX_CLERK__WEBHOOK_SECRET", CLERK_SECRET),
    ("NARTHEX_PROVISIONING__LEASE", "3s"),
    ("NARTHEX_PROVISIONING__SPARES", "0"),
];

#[tokio::test]
async fn what_was_answered_is_done_although_its_process_is_killed() {
    let place = CliFixture::migrated().await;
    let serving = Serving::start(&place, &SETTINGS).await;
    // Nobody comes to an end with anything.
    let mut holder = place.cluster.connect(&place.database).await;
    let held = "BEGIN; LOCK TABLE clerk_users, clerk_organizations IN ACCESS EXCLUSIVE MODE";
    sqlx::Executor::execute(&mut holder, held).await.unwrap();
    let client =
        narthex::outbound::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let url = format!("http://{}", serving.address);
    let now = narthex::clock::Clock::system().now().timestamp();
    let people: Vec<_> = (0..ORGANIZATIONS).map(|_| member("ada")).collect();
    let made: Vec<_> = people.iter().map(Organization::made_by).collect();
    let events = made.iter().zip(&people).flat_map(|(organization, ada)| {
        [
            organization.created(),
            told("user.created", ada, AT),
            organization.joined(ada, "org:admin", AT),
            sample::organization("organization.updated", &organization.clerk, AT + 1),
        ]
    });
    let sent = events.enumerate().map(|(number, event)| {
        clerk_delivery(&client, &url, &format!("msg_{number}"), now, &event).send()
    });
    for answer in futures_util::future::join_all(sent).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    let count = async |sql: &str| place.cluster.count(&place.database, sql).await;
    let at_work = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("work has begun", async || count(at_work).await == 3).await;
    serving.send(Signal::SIGKILL);
    let _ = serving.ended().await;
    sqlx::Executor::execute(&mut holder, "ROLLBACK").await.unwrap();
    let all = i64::try_from(ORGANIZATIONS * 4).unwrap();
    let open = "SELECT count(*) FROM webhook_deliveries WHERE status <> 'completed'";
    assert_eq!(count(open).await, all);

    // What it had claimed waits for the end of its lease.
    let over = "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE status = 'processing'";
    place.cluster.execute(&place.database, over).await;
    let serving = Serving::start(&place, &SETTINGS).await;
    let unsettled = "SELECT count(*) FROM clerk_organizations WHERE changes > settled";
    let done = async {
        while (count(open).await, count(unsettled).await) != (0, 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("it is never done");
    serving.send(Signal::SIGTERM);
    let _ = serving.ended().await;
    let tenants = i64::try_from(ORGANIZATIONS).unwrap();
    assert_eq!(count("SELECT count(*) FROM tenants WHERE status = 'active'").await, tenants);
    assert_eq!(count("SELECT count(*) FROM tenants").await, tenants);
    assert_eq!(count("SELECT count(*) FROM email_index").await, tenants);
    let databases = "SELECT database_name FROM tenants";
    for database in place.cluster.texts(&place.database, databases).await {
        let staff = "SELECT count(*) FROM staff WHERE role = 'owner' AND status = 'active'";
        assert_eq!(place.cluster.count(&database, staff).await, 1);
    }
}
