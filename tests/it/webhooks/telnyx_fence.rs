//! A worker that was away for longer than its claim lasts has no say over the event any more.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use narthex::registry::RegistryDb;
use narthex::registry::inbox::parked_events::{self, NewParkedEvent, ParkedEvent, Status};
use rstest::rstest;

use crate::support::TestApp;

const LEASE: Duration = Duration::from_secs(60);

/// A registry with one event in it, at a time at which the application's own job finds nothing due.
async fn with_an_event() -> (TestApp, RegistryDb, DateTime<Utc>) {
    let app = TestApp::start().await;
    let db = app.registry.connect().await.unwrap();
    let tomorrow = app.clock.now() + TimeDelta::days(1);
    let event = NewParkedEvent {
        provider: "telnyx",
        provider_event_id: "e1",
        body: b"{}",
        number_hashes: vec![vec![7]],
        reason: "unknown_number",
        status: Status::Waiting,
        occurred_at: None,
    };
    parked_events::park(&db, app.registry.sealer(), event, tomorrow).await.unwrap();
    (app, db, tomorrow + TimeDelta::seconds(1))
}

async fn claim(db: &RegistryDb, at: DateTime<Utc>) -> ParkedEvent {
    parked_events::claim_due(db, 20, LEASE, at).await.unwrap().pop().expect("an event that is due")
}

async fn stored(db: &RegistryDb) -> ParkedEvent {
    parked_events::list(db).await.unwrap().pop().unwrap()
}

async fn postpone(db: &RegistryDb, event: &ParkedEvent, now: DateTime<Utc>) {
    let until = now + TimeDelta::days(7);
    parked_events::postpone(db, event, until, "tenant_unavailable", 9).await.unwrap();
}

#[derive(Clone, Copy)]
enum Since {
    /// Another worker has claimed it after the lease.
    Claimed,
    /// Its number was assigned, so that it is due at once.
    Hastened,
}

#[rstest]
#[case::claimed_by_another(Since::Claimed)]
#[case::made_due(Since::Hastened)]
#[tokio::test]
async fn a_claim_that_is_over_changes_nothing(#[case] since: Since) {
    let (_app, db, now) = with_an_event().await;
    let late = claim(&db, now).await;
    let after = now + TimeDelta::seconds(61);
    match since {
        Since::Claimed => {
            claim(&db, after).await;
        }
        Since::Hastened => {
            assert_eq!(parked_events::make_due(&db, vec![7], |_| true, after).await.unwrap(), 1);
        }
    }
    let before = stored(&db).await;
    postpone(&db, &late, after).await;
    assert_eq!(stored(&db).await, before);
    parked_events::fail(&db, &late, "statement_failed").await.unwrap();
    assert_eq!(stored(&db).await, before);
    parked_events::delivered(&db, &late).await.unwrap();
    assert_eq!(stored(&db).await, before);
}

#[tokio::test]
async fn a_claim_that_lasts_decides() {
    let (_app, db, now) = with_an_event().await;
    let first = claim(&db, now).await;
    postpone(&db, &first, now).await;
    let reschedule = stored(&db).await;
    assert_eq!((reschedule.attempts, &*reschedule.reason), (9, "tenant_unavailable"));
    assert_eq!(reschedule.next_attempt_at, now + TimeDelta::days(7));
    let second = claim(&db, now + TimeDelta::days(7)).await;
    parked_events::fail(&db, &second, "statement_failed").await.unwrap();
    let given_up = stored(&db).await;
    assert_eq!((given_up.status, &*given_up.reason), (Status::Failed, "statement_failed"));
    parked_events::delivered(&db, &given_up).await.unwrap();
    assert_eq!(parked_events::list(&db).await.unwrap(), []);
}
