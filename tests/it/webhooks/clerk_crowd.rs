//! A whole instance of Clerk at once, every delivery several times and in any order: what comes of it is exact.

use std::collections::BTreeSet;

use narthex::registry::inbox::clerk::find_caller;
use narthex::webhooks::clerk::sample::{self, SampleUser};
use serde_json::Value;

use super::clerk_world::{AT, Organization, World, member, told};
use crate::support::{TestApp, TestCluster, eventually, own_cluster};

/// Every delivery comes so often.
const REPETITIONS: usize = 5;
/// Of one organization.
const EVENTS: usize = 36;

/// Deliveries that differ, at least; `scripts/bench faults` plays 1,000.
fn deliveries() -> usize {
    std::env::var("DELIVERIES").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// What has to come of one organization.
#[derive(Default)]
struct Expected {
    /// `email role`.
    staff: Vec<String>,
    /// Users, and their role.
    callers: Vec<(String, &'static str)>,
    /// Users who have no right here.
    strangers: Vec<String>,
}

/// What a whole instance of Clerk would have sent, and what has to come of it.
struct Instance {
    organizations: Vec<(Organization, Expected)>,
    events: Vec<Value>,
}

/// Organizations with three people each, of whom one leaves, one changes the address and one role changes, and of
/// whom one belongs to the next organization too.
fn instance(organizations: usize) -> Instance {
    let people: Vec<[SampleUser; 3]> =
        (0..organizations).map(|_| [member("ada"), member("bob"), member("eve")]).collect();
    let made: Vec<_> = people.iter().map(|[ada, _, _]| Organization::made_by(ada)).collect();
    let mut events = Vec::new();
    let mut expected: Vec<Expected> = (0..organizations).map(|_| Expected::default()).collect();
    for (number, (organization, [ada, bob, eve])) in made.iter().zip(&people).enumerate() {
        let next = (number + 1) % organizations;
        let moved = SampleUser { email: member("bob.moved").email, ..bob.clone() };
        events.push(organization.created());
        events.push(sample::organization("organization.updated", &organization.clerk, AT + 1));
        for user in [ada, bob, eve] {
            events.push(told("user.created", user, AT));
            events.push(organization.joined(user, "org:member", AT));
            for step in 1..5 {
                events.push(told("user.updated", user, AT + step));
                let role = if step % 2 == 0 { "org:admin" } else { "org:member" };
                events.push(organization.changed(user, role, AT + step));
            }
        }
        events.push(told("user.updated", &moved, AT + 10));
        events.push(organization.changed(bob, "org:admin", AT + 10));
        events.push(organization.left(eve, AT + 11));
        events.push(made[next].joined(bob, "org:member", AT + 12));
        for (place, user, role) in
            [(number, ada, "owner"), (number, &moved, "admin"), (next, &moved, "viewer")]
        {
            expected[place].staff.push(format!("{} {role}", user.email));
            expected[place].callers.push((user.id.clone(), role));
        }
        expected[number].strangers.push(eve.id.clone());
        expected[next].strangers.push(ada.id.clone());
    }
    for rows in &mut expected {
        rows.staff.sort();
    }
    assert_eq!(events.len(), organizations * EVENTS);
    Instance { organizations: made.into_iter().zip(expected).collect(), events }
}

/// Patience for many, as long as they become fewer.
async fn eventually_all(world: &World) {
    loop {
        let left = world.deliveries("processing").await;
        if left == 0 {
            break;
        }
        eventually("some more deliveries are worked on", async || {
            world.deliveries("processing").await < left
        })
        .await;
    }
    world.quiet().await;
}

#[tokio::test]
async fn however_many_come_at_once_in_any_order_and_five_times_each_the_counts_are_exact() {
    let cluster = own_cluster().await;
    let app = TestApp::start_on(TestCluster::of(&cluster), Box::new(|_| {})).await;
    let world = World { app };
    let Instance { organizations, events } = instance(deliveries().div_ceil(EVENTS).max(2));
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sent: Vec<_> = (0..REPETITIONS).flat_map(|_| events.iter().enumerate()).collect();
    random.shuffle(&mut sent);
    let begun = std::time::Instant::now();
    for batch in sent.chunks(16) {
        // Some under the id that they came with before, some under another.
        let answers = batch.iter().map(|(number, event)| {
            let attempt = random.u8(..3);
            let world = &world;
            async move { world.app.clerk_delivers(&format!("msg_{number}_{attempt}"), event).await }
        });
        for answer in futures_util::future::join_all(answers).await {
            answer.expect(200);
        }
    }
    let answered = begun.elapsed();
    eventually_all(&world).await;
    eprintln!(
        "{} deliveries, {} in all: answered after {answered:?}, settled after {:?}",
        events.len(),
        sent.len(),
        begun.elapsed()
    );

    let count = i64::try_from(organizations.len()).unwrap();
    let registry = async |sql: &str| world.app.registry_count(sql).await;
    assert_eq!(registry("SELECT count(*) FROM tenants").await, count);
    assert_eq!(registry("SELECT count(*) FROM tenants WHERE status = 'active'").await, count);
    assert_eq!(registry("SELECT count(*) FROM provisioning_runs").await, count);
    assert_eq!(world.deliveries("failed").await, 0);
    let texts = async |sql: &str| -> BTreeSet<String> {
        world.app.cluster.texts(&world.app.registry_database, sql).await.into_iter().collect()
    };
    let tenants = texts("SELECT database_name FROM tenants").await;
    let databases = "SELECT datname::text FROM pg_database WHERE datname LIKE 'tenant%'";
    assert_eq!(texts(databases).await, tenants);
    assert_eq!(
        texts("SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'tenant%'").await,
        tenants
    );

    let db = world.app.registry.connect().await.unwrap();
    let mut rows = 0;
    for (organization, expected) in &organizations {
        let id = &organization.clerk.id;
        let tenant = world.tenant_of(organization).await;
        let staff = world.staff(tenant).await;
        let active: Vec<_> = staff.iter().filter_map(|row| row.strip_suffix(" active")).collect();
        assert_eq!(active, expected.staff);
        for row in &expected.staff {
            assert!(world.is_indexed(row.split(' ').next().unwrap(), tenant).await, "{row}");
            rows += 1;
        }
        for (user, role) in &expected.callers {
            let caller = find_caller(&db, id, user).await.unwrap().unwrap();
            assert_eq!((caller.tenant, caller.role.as_str()), (tenant, *role));
        }
        for user in &expected.strangers {
            assert_eq!(find_caller(&db, id, user).await.unwrap(), None, "{user} has a right");
        }
    }
    assert_eq!(registry("SELECT count(*) FROM email_index").await, rows);
}
