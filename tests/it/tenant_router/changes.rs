//! What changes in the registry is known to every replica at once; what a replica has in memory it uses only while it
//! is known to hear of changes.

use std::time::Duration;

use narthex::identifiers::TenantId;
use narthex::postgres::Scoped;
use narthex::registry::RegistryError;
use narthex::registry::tenants::phone_numbers;
use narthex::registry::tenants::{self, Status};
use narthex::tenant_router::{PoolEvent, RouterError, TenantRouter};
use rstest::rstest;
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{Hall, ask, connect, count, tenant, visit, visit_eventually};
use crate::support::{TestApp, eventually, unique};
use narthex::sealing::aad;

async fn heard(router: &TenantRouter) {
    eventually("the router hears of changes", async || router.directory().is_fresh()).await;
}

#[rstest]
#[case::status("status = 'suspended'")]
#[case::slug("slug = 'of-another-name-' || substr(id::text, 25)")]
#[case::password("sealed_password = '\\x00'")]
#[case::database("database_name = 'elsewhere_' || substr(id::text, 25)")]
#[case::schema("schema_version = 'm20991231_000001'")]
#[tokio::test]
async fn a_change_is_known_to_every_replica(#[case] assignment: &str) {
    let hall = Hall::with(1).await;
    let (one, two) = (hall.router(|_| {}), hall.router(|_| {}));
    let id = hall.ids[0];
    let mut before = Vec::new();
    for router in [&one, &two] {
        heard(router).await;
        before.push(tenant(router, id).await);
        let hits = router.directory().statistics().hits;
        tenant(router, id).await;
        assert_eq!(router.directory().statistics().hits, hits + 1, "not answered from memory");
    }
    hall.change_row(id, assignment).await;
    for router in [&one, &two] {
        eventually("the change is known", async || tenant(router, id).await != before[0]).await;
    }
}

#[tokio::test]
async fn a_suspended_tenant_loses_its_pools_everywhere_and_gets_them_back() {
    let app = TestApp::start().await;
    let other = app.replica().await;
    let staff = app.register().await;
    let there = staff.at(&other);
    for caller in [&staff, &there] {
        caller.get("/v1/members").await.expect(200);
    }
    let db = app.registry.connect().await.unwrap();
    let change = async |from, to| {
        tenants::change_status(&db, staff.tenant_id, from, to, app.clock.now()).await.unwrap()
    };
    assert!(change(Status::Active, Status::Suspended).await);
    for caller in [&staff, &there] {
        eventually("the suspension holds", async || {
            caller.get("/v1/members").await.code() == "tenant_suspended"
        })
        .await;
    }
    for replica in [&app, &other] {
        eventually("its pool is gone", async || replica.router.pool_of(staff.tenant_id).is_none())
            .await;
        assert_eq!(count(&replica.router, PoolEvent::NotAdmitted), 1);
    }
    assert!(change(Status::Suspended, Status::Active).await);
    for caller in [&staff, &there] {
        eventually("it is served again", async || caller.get("/v1/members").await.status == 200)
            .await;
    }
}

#[tokio::test]
async fn a_number_that_changes_hands_is_known_to_every_replica_at_once() {
    let app = TestApp::start().await;
    let other = app.replica().await;
    let (a, b) = (app.register().await.tenant_id, app.register().await.tenant_id);
    let number: narthex::identifiers::LineNumber = "+13125550177".parse().unwrap();
    // One number and several are asked for by statements of their own.
    let numbers = [number.as_str().to_owned(), "+13125550178".to_owned()];
    let db = app.registry.connect().await.unwrap();
    for (holder, next) in [(a, b), (b, a), (a, b)] {
        phone_numbers::assign(&db, &number, holder, app.clock.now()).await.unwrap().unwrap();
        for replica in [&app, &other] {
            let now = app.clock.now();
            let event = phone_numbers::EventTime { occurred_at: now, received_at: now };
            for asked in [&numbers[..1], &numbers[..]] {
                let found = replica.router.directory().holders_of_numbers(asked, event).await;
                assert_eq!(found.unwrap(), [(numbers[0].clone(), holder)], "not {next}'s yet");
            }
        }
        phone_numbers::release(&db, &number, holder, app.clock.now()).await.unwrap();
    }
}

#[tokio::test]
async fn an_unknown_tenant_costs_one_look_up_and_is_found_as_soon_as_it_is_made() {
    let hall = Hall::with(1).await;
    let router = hall.router(|_| {});
    heard(&router).await;
    let id = TenantId(Uuid::new_v4());
    assert_eq!(router.directory().tenant(id).await.unwrap(), None);
    let before = router.directory().statistics();
    for _ in 0..10 {
        assert_eq!(router.directory().tenant(id).await.unwrap(), None);
    }
    let after = router.directory().statistics();
    assert_eq!((after.misses, after.negatives), (before.misses, before.negatives + 10));
    hall.app
        .registry_execute(&format!(
            "INSERT INTO tenants SELECT (jsonb_populate_record(tenants, jsonb_build_object('id', '{id}',
                'slug', '{name}', 'database_name', '{name}', 'role_name', '{name}'))).* FROM tenants",
            name = unique(),
        ))
        .await;
    eventually("the new tenant is found", async || {
        router.directory().tenant(id).await.unwrap().is_some()
    })
    .await;
}

#[tokio::test]
async fn ids_that_nobody_has_do_not_push_a_tenant_out() {
    let hall = Hall::with(1).await;
    let router = hall.router(|_| {});
    heard(&router).await;
    tenant(&router, hall.ids[0]).await;
    for _ in 0..200 {
        let nobody = TenantId(Uuid::new_v4());
        assert_eq!(router.directory().tenant(nobody).await.unwrap(), None);
    }
    let before = router.directory().statistics();
    tenant(&router, hall.ids[0]).await;
    assert_eq!(router.directory().statistics().hits, before.hits + 1);
}

/// Changes a row without an announcement, as if it had been lost on its way.
async fn change_in_silence(hall: &Hall, id: TenantId, assignment: &str) {
    let sql = format!(
        "ALTER TABLE tenants DISABLE TRIGGER announce_update;
         UPDATE tenants SET {assignment} WHERE id = '{id}';
         ALTER TABLE tenants ENABLE TRIGGER announce_update"
    );
    hall.app.registry_execute(&sql).await;
}

/// Ends the sessions that listen to the registry's changes.
async fn cut_listeners(hall: &Hall) {
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 5000)::text FROM pg_stat_activity
         WHERE datname = '{}' AND application_name = 'narthex/changes'",
        hall.app.registry_database
    );
    assert!(!hall.app.cluster.texts("postgres", &sql).await.is_empty(), "nobody listened");
}

#[tokio::test]
async fn after_a_lost_listener_everything_is_looked_up_again() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    heard(&router).await;
    visit(&router, id).await;
    change_in_silence(&hall, id, "status = 'suspended'").await;
    visit(&router, id).await;
    cut_listeners(&hall).await;
    eventually("the change is known", async || {
        matches!(connect(&router, id).await, Err(RouterError::Suspended))
    })
    .await;
    eventually("its pool is gone", async || router.pool_of(id).is_none()).await;
}

/// Lets nobody new into the registry. Sessions that are there stay.
async fn allow_registry(hall: &Hall, allowed: bool) {
    let name = &hall.app.registry_database;
    let sql = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}");
    hall.app.cluster.execute("postgres", &sql).await;
}

#[tokio::test]
async fn while_nobody_listens_the_registry_is_asked_each_time() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    heard(&router).await;
    let db = hall.app.registry.connect().await.unwrap();
    tenant(&router, id).await;
    allow_registry(&hall, false).await;
    cut_listeners(&hall).await;
    eventually("the silence is noticed", async || !router.directory().is_fresh()).await;
    for status in ["suspended", "active", "suspended"] {
        let sql = format!("UPDATE tenants SET status = '{status}' WHERE id = '{id}'");
        db.execute_unprepared(&sql).await.unwrap();
        let found = serde_json::to_value(tenant(&router, id).await.status).unwrap();
        assert_eq!(found, status);
    }
    allow_registry(&hall, true).await;
    heard(&router).await;
}

#[tokio::test]
async fn through_an_outage_of_the_registry_known_tenants_are_served_for_a_while() {
    let hall = Hall::start(
        2,
        Box::new(|settings| settings.registry.outage_grace = Duration::from_secs(4)),
    )
    .await;
    let router = hall.app.router.clone();
    let [known, other] = hall.ids[..] else { unreachable!() };
    heard(&router).await;
    visit(&router, known).await;
    router.directory().forget(other);
    allow_registry(&hall, false).await;
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 5000)::text FROM pg_stat_activity WHERE datname = '{}'",
        hall.app.registry_database
    );
    hall.app.cluster.texts("postgres", &sql).await;
    eventually("the silence is noticed", async || !router.directory().is_fresh()).await;
    visit(&router, known).await;
    assert!(router.directory().statistics().in_grace >= 1);
    let refused = router.directory().tenant(other).await.err();
    assert!(matches!(refused, Some(RegistryError::Unavailable(_))), "{refused:?}");
    eventually("the patience ends", async || {
        matches!(router.directory().tenant(known).await, Err(RegistryError::Unavailable(_)))
    })
    .await;
    allow_registry(&hall, true).await;
    eventually("all is well again", async || router.directory().tenant(other).await.is_ok()).await;
    heard(&router).await;
}

#[tokio::test]
async fn a_changed_password_that_nobody_announced_is_found_by_the_first_who_meets_it() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    heard(&router).await;
    let before = tenant(&router, id).await;
    let sealed = hall.app.registry.sealer().seal(&aad::tenant_password(id), b"another").unwrap();
    let assignment = format!("sealed_password = '\\x{}'", hex::encode(sealed));
    change_in_silence(&hall, id, &assignment).await;
    let sql = format!("ALTER ROLE {} PASSWORD 'another'", id.database_name());
    hall.app.cluster.execute("postgres", &sql).await;
    assert_eq!(tenant(&router, id).await, before, "it was announced");
    let db = router.connect(&before).await.unwrap();
    assert_eq!(ask(&db).await.0, id);
    assert_ne!(db.scope().tenant(), &*before, "led there by the old row");
    assert_eq!(router.statistics().retries, 1);
}

/// The registry is asked once, not with every refused request.
#[tokio::test]
async fn a_password_that_is_wrong_in_the_registry_too_costs_one_look_up_a_second() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    heard(&router).await;
    let row = tenant(&router, id).await;
    let sql = format!("ALTER ROLE {} PASSWORD 'another'", id.database_name());
    hall.app.cluster.execute("postgres", &sql).await;
    let before = router.directory().statistics().misses;
    for _ in 0..50 {
        assert!(matches!(router.connect(&row).await, Err(RouterError::Unavailable(_))));
    }
    let asked = router.directory().statistics().misses - before;
    assert!((1..=5).contains(&asked), "{asked} look-ups");
    assert_eq!(router.statistics().retries, 0);
    let old = hall.app.registry.sealer().open(&aad::tenant_password(id), &row.sealed_password);
    let old = String::from_utf8(old.unwrap()).unwrap();
    let sql = format!("ALTER ROLE {} PASSWORD '{old}'", id.database_name());
    hall.app.cluster.execute("postgres", &sql).await;
    visit_eventually(&router, id).await;
}

#[tokio::test]
async fn many_changes_at_once_are_taken_up_too() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    heard(&router).await;
    tenant(&router, id).await;
    hall.app
        .registry_execute(
            "INSERT INTO tenants SELECT (jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(),
                'slug', 's' || n, 'database_name', 'd' || n, 'role_name', 'r' || n))).*
             FROM tenants t, generate_series(1, 300) n;
             UPDATE tenants SET plan = 'changed'",
        )
        .await;
    eventually("the change is known", async || tenant(&router, id).await.plan == "changed").await;
}

#[tokio::test]
async fn a_change_while_a_request_waits_for_room_is_not_missed() {
    let hall = Hall::with(2).await;
    let router = hall.router(|settings| settings.max_open_tenants = 1);
    let [a, b] = hall.ids[..] else { unreachable!() };
    heard(&router).await;
    let of_b = tenant(&router, b).await;
    let held = connect(&router, a).await.unwrap();
    let waiting = {
        let (router, of_b) = (router.clone(), of_b.clone());
        tokio::spawn(async move { router.connect(&of_b).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    hall.change_row(b, "status = 'suspended'").await;
    eventually("the change is known", async || tenant(&router, b).await != of_b).await;
    drop(held);
    let served = waiting.await.unwrap();
    drop(served);
    eventually("its pool is gone", async || router.pool_of(b).is_none()).await;
    assert_eq!(count(&router, PoolEvent::NotAdmitted), 1);
}

#[tokio::test]
async fn a_row_moves_on_whatever_the_clock_of_the_writer_says() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    let before = tenant(&router, id).await;
    for assignment in ["updated_at = now() - interval '1 hour'", "plan = 'changed'"] {
        let last = tenant(&router, id).await;
        hall.change_row(id, assignment).await;
        eventually("the change is known", async || {
            tenant(&router, id).await.updated_at > last.updated_at
        })
        .await;
    }
    assert!(tenant(&router, id).await.updated_at < before.updated_at + Duration::from_millis(1));
}

#[tokio::test]
async fn a_server_that_is_reached_otherwise_gets_new_pools_and_one_that_is_renamed_does_not() {
    let hall = Hall::with(1).await;
    let (router, id) = (hall.router(|_| {}), hall.ids[0]);
    heard(&router).await;
    let backend = visit(&router, id).await;
    let before = router.directory().statistics().changes;
    hall.app.registry_execute("UPDATE database_servers SET name = 'another'").await;
    eventually("the change is heard of", async || router.directory().statistics().changes > before)
        .await;
    assert_eq!(visit(&router, id).await, backend);
    hall.app.registry_execute("UPDATE database_servers SET tls_authority = 'another'").await;
    eventually("the pool is retired", async || count(&router, PoolEvent::Moved) == 1).await;
    assert_ne!(visit(&router, id).await, backend);
}
