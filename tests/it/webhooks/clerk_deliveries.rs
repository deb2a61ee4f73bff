//! Deliveries: recorded, answered, worked on, tried again, given up, replayed.

use chrono::TimeDelta;
use futures_util::StreamExt;
use narthex::registry::inbox::webhook_deliveries::{self, NewDelivery};
use serde_json::json;

use super::clerk_world::{AT, Organization, World, member, told};
use crate::support::{eventually, unique};

#[tokio::test]
async fn a_delivery_is_recorded_worked_on_and_its_body_forgotten() {
    let world = World::start().await;
    let mut ada = member("ada");
    ada.first_name = "Augusta".to_owned();
    world.tell(&[told("user.created", &ada, AT)]).await;
    let done = "SELECT count(*) FROM webhook_deliveries WHERE status = 'completed' AND event_type = 'user.created'
        AND sealed_body IS NULL AND finished_at IS NOT NULL AND attempts = 1 AND reason IS NULL";
    assert_eq!(world.app.registry_count(done).await, 1);
    let database = &world.app.registry_database;
    for personal in [&ada.email, &ada.first_name] {
        assert!(!world.app.cluster.holds(database, personal).await, "{personal} lies in the open");
    }
}

#[tokio::test]
async fn the_same_delivery_again_is_a_duplicate() {
    let world = World::start().await;
    let (id, event) = (format!("msg_{}", unique()), told("user.created", &member("ada"), AT));
    let receipts = async || world.app.clerk_delivers(&id, &event).await.expect(200);
    assert_eq!(receipts().await, json!({"status": "accepted"}));
    assert_eq!(receipts().await, json!({"status": "duplicate"}));
    world.quiet().await;
    assert_eq!(receipts().await, json!({"status": "duplicate"}));
    assert_eq!(world.deliveries("completed").await, 1);
}

#[tokio::test]
async fn many_at_once_are_all_worked_on() {
    let world = World::start().await;
    let sent = (0..60).map(|n| {
        let world = &world;
        async move {
            let event = told("user.created", &member(&format!("n{n}")), AT);
            world.app.clerk_sends(&event).await.expect(200)
        }
    });
    // As many at once as the registry's pool takes in time on a busy machine.
    let mut receipts = futures_util::stream::iter(sent).buffer_unordered(16);
    while let Some(receipt) = receipts.next().await {
        assert_eq!(receipt, json!({"status": "accepted"}));
    }
    world.quiet().await;
    assert_eq!(world.deliveries("completed").await, 60);
    assert_eq!(world.app.registry_count("SELECT count(*) FROM clerk_users").await, 60);
}

#[tokio::test]
async fn what_a_process_had_taken_up_when_it_died_is_taken_up_by_another_after_its_lease() {
    let world = World::start().await;
    let app = &world.app;
    let body = told("user.created", &member("ada"), AT).to_string();
    let new = NewDelivery {
        provider: "clerk",
        delivery_id: "msg_orphaned",
        event_type: "user.created",
        body: body.as_bytes(),
    };
    // Recorded and claimed, as by a process that is gone since.
    let (lease, now) = (std::time::Duration::from_secs(90), app.clock.now());
    let db = app.registry.connect().await.unwrap();
    let sealer = app.registry.sealer();
    webhook_deliveries::record(&db, sealer, &new, Some(lease), now).await.unwrap().unwrap();
    drop(db);
    assert_eq!(app.clerk.work_on_due().await.unwrap(), 0, "it belongs to the other");
    app.clock.advance(TimeDelta::seconds(100));
    world.quiet().await;
    let twice =
        "SELECT count(*) FROM webhook_deliveries WHERE status = 'completed' AND attempts = 2";
    assert_eq!(app.registry_count(twice).await, 1);
    assert_eq!(app.registry_count("SELECT count(*) FROM clerk_users").await, 1);
}

#[tokio::test]
async fn however_much_there_is_to_do_three_connections_to_the_registry_are_used() {
    let world = World::start().await;
    let app = &world.app;
    let mut holder = app.cluster.connect(&app.registry_database).await;
    let held = "BEGIN; LOCK TABLE clerk_users IN ACCESS EXCLUSIVE MODE";
    sqlx::Executor::execute(&mut holder, held).await.unwrap();
    for n in 0..20 {
        app.clerk_sends(&told("user.created", &member(&format!("n{n}")), AT)).await.expect(200);
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut most = 0;
    let watched = async {
        loop {
            most = most.max(app.registry_count(waiting).await);
        }
    };
    let round = tokio::time::timeout(std::time::Duration::from_secs(2), app.clerk.work_on_due());
    tokio::select! {
        worked = round => assert!(worked.is_err()),
        () = watched => {}
    }
    assert_eq!(most, 3);
    sqlx::Executor::execute(&mut holder, "ROLLBACK").await.unwrap();
}

/// A tenant that cannot be made: until its run is forgotten, every attempt fails.
async fn failed_run(world: &World) -> (String, serde_json::Value) {
    let (ada, run) = (member("ada"), uuid::Uuid::new_v4());
    let organization = Organization::made_by(&ada);
    let id = &organization.clerk.id;
    world.app.registry_execute(&format!(
        "INSERT INTO provisioning_runs
             (id, kind, tenant_id, status, error_code, error_detail, created_at, finished_at)
         VALUES ('{run}', 'create_tenant', gen_random_uuid(), 'failed', 'provisioning_failed', 'no server has room', now(), now());
         INSERT INTO clerk_organizations (id, tenant_id, run_id, next_settle_at)
         SELECT '{id}', tenant_id, id, now() FROM provisioning_runs WHERE id = '{run}'"
    )).await;
    (id.clone(), organization.created())
}

#[tokio::test]
async fn a_delivery_fails_with_the_reason_of_its_run() {
    let world = World::start().await;
    let (_, created) = failed_run(&world).await;
    world.app.clerk_delivers("msg_of_a_failed_run", &created).await.expect(200);
    eventually("it has failed", async || world.deliveries("failed").await == 1).await;
    let reason = "SELECT reason FROM webhook_deliveries";
    let reasons = world.app.cluster.texts(&world.app.registry_database, reason).await;
    assert!(reasons[0].contains("no server has room"), "{reasons:?}");
    let kept = "SELECT count(*) FROM webhook_deliveries WHERE sealed_body IS NOT NULL";
    assert_eq!(world.app.registry_count(kept).await, 1);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_given_up_in_the_end() {
    let world = World::start().await;
    let ada = member("ada");
    let (organization, tenant) = world.settled_organization(&ada).await;
    let database = tenant.database_name();
    let broken = "ALTER TABLE external_identities RENAME TO elsewhere";
    world.app.cluster.execute(&database, broken).await;
    let joined = organization.joined(&ada, "org:admin", AT);
    world.app.clerk_delivers("msg_failing", &joined).await.expect(200);
    eventually("it has failed", async || {
        world.app.clock.advance(TimeDelta::seconds(700));
        world.deliveries("failed").await == 1
    })
    .await;
    let attempts = "SELECT count(*) FROM webhook_deliveries WHERE attempts = 12 AND reason LIKE '%refused a statement%'";
    assert_eq!(world.app.registry_count(attempts).await, 1);

    let mended = "ALTER TABLE elsewhere RENAME TO external_identities";
    world.app.cluster.execute(&database, mended).await;
    let replayed = world.app.clerk.replay("msg_failing").await.unwrap();
    assert_eq!(replayed, narthex::webhooks::clerk::Replayed::Due);
    world.quiet().await;
    assert_eq!(world.deliveries("completed").await, 1);
    assert_eq!(world.staff(tenant).await, [format!("{} owner active", ada.email)]);
}

#[tokio::test]
async fn completed_deliveries_are_forgotten_after_a_month_and_failed_ones_after_three() {
    let world = World::start().await;
    let (_, created) = failed_run(&world).await;
    world.app.clerk_sends(&created).await.expect(200);
    world.app.clerk_sends(&told("user.created", &member("ada"), AT)).await.expect(200);
    let ended = async || (world.deliveries("failed").await, world.deliveries("completed").await);
    eventually("both have ended", async || ended().await == (1, 1)).await;
    assert_eq!(world.app.clerk.clean_up().await.unwrap(), 0);
    world.app.clock.advance(TimeDelta::days(31));
    world.app.clerk.clean_up().await.unwrap();
    assert_eq!(ended().await, (1, 0));
    world.app.clock.advance(TimeDelta::days(60));
    world.app.clerk.clean_up().await.unwrap();
    assert_eq!(ended().await, (0, 0));
}
