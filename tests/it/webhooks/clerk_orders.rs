//! Every order in which events can come, one after the other: all of them end in the same.

use narthex::webhooks::clerk::sample::{self, SampleUser};
use serde_json::Value;

use super::clerk_world::{AT, Organization, World, member, told};
use crate::support::eventually;

/// All orders of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let shorter = orders(last);
    let with_last = |order: &Vec<usize>, place: usize| {
        let mut order = order.clone();
        order.insert(place, last);
        order
    };
    shorter.iter().flat_map(|order| (0..count).map(move |place| with_last(order, place))).collect()
}

/// Tells stories of as many events, one after the other in each of the orders that there are: an event is sent when the one
/// before is worked on.
async fn in_every_order(world: &World, stories: &[Vec<Value>]) {
    let count = stories[0].len();
    let orders = orders(count);
    assert_eq!(stories.len() % orders.len(), 0);
    for permit in 0..count {
        let sent = stories.iter().zip(orders.iter().cycle()).map(|(story, order)| {
            let event = &story[order[permit]];
            async { world.app.clerk_sends(event).await.expect(200) }
        });
        futures_util::future::join_all(sent).await;
        eventually("the events of this turn are worked on", async || {
            world.deliveries("processing").await == 0
        })
        .await;
    }
    world.quiet().await;
    assert_eq!(world.deliveries("failed").await, 0);
}

fn moved(user: &SampleUser) -> SampleUser {
    SampleUser { email: format!("moved.{}", user.email), ..user.clone() }
}

#[tokio::test]
async fn in_whatever_order_it_is_heard_of_an_organization_has_its_tenant_and_its_owner() {
    let world = World::start().await;
    let people: Vec<_> = (0..24).map(|_| member("ada")).collect();
    let made: Vec<_> = people.iter().map(Organization::made_by).collect();
    let stories: Vec<_> = made
        .iter()
        .zip(&people)
        .map(|(organization, ada)| {
            vec![
                organization.created(),
                told("user.created", ada, AT),
                told("user.updated", &moved(ada), AT + 1),
                organization.joined(ada, "org:admin", AT),
            ]
        })
        .collect();
    in_every_order(&world, &stories).await;
    assert_eq!(world.app.registry_count("SELECT count(*) FROM tenants").await, 24);
    for (organization, ada) in made.iter().zip(&people) {
        let tenant = world.tenant_of(organization).await;
        let email = moved(ada).email;
        assert_eq!(world.staff(tenant).await, [format!("{email} owner active")]);
        assert!(world.is_indexed(&email, tenant).await);
        assert_eq!(world.indexed(tenant).await, 1);
    }
}

type Story = fn(&Organization, &SampleUser) -> Vec<Value>;

/// Who is a member in the end, in which role; and who is not.
const STORIES: [(&str, Option<&str>, Story); 4] = [
    ("leaves", None, |o, user| {
        vec![
            told("user.created", user, AT),
            o.joined(user, "org:member", AT + 1),
            o.changed(user, "org:admin", AT + 2),
            o.left(user, AT + 3),
        ]
    }),
    ("is_deleted", None, |o, user| {
        vec![
            told("user.created", user, AT),
            told("user.updated", user, AT + 1),
            o.joined(user, "org:admin", AT + 1),
            sample::deleted("user.deleted", &user.id, AT + 2),
        ]
    }),
    ("rises", Some("admin"), |o, user| {
        vec![
            told("user.created", user, AT),
            o.joined(user, "org:member", AT + 1),
            o.changed(user, "org:admin", AT + 2),
            told("user.updated", user, AT + 3),
        ]
    }),
    ("comes_back", Some("viewer"), |o, user| {
        let again = format!("orgmem_again_{}", user.id);
        let kind = "organizationMembership.created";
        vec![
            told("user.created", user, AT),
            o.joined(user, "org:admin", AT + 1),
            o.left(user, AT + 2),
            sample::membership(kind, &again, "org:member", (&o.clerk, AT), user, AT + 3),
        ]
    }),
];

#[tokio::test]
async fn in_whatever_order_it_is_heard_of_a_membership_ends_and_begins() {
    let world = World::start().await;
    let mut stories = Vec::new();
    let mut expected = Vec::new();
    for (name, role, story) in STORIES {
        let (organization, tenant) = world.settled_organization(&member("maker")).await;
        for _ in 0..24 {
            let user = member(name);
            stories.push(story(&organization, &user));
            expected.push((name, tenant, user.email, role));
        }
    }
    in_every_order(&world, &stories).await;
    for (name, tenant, email, role) in expected {
        let staff = world.staff(tenant).await;
        let active = staff.iter().find(|row| row.starts_with(&email) && row.ends_with(" active"));
        assert_eq!(active, role.map(|role| format!("{email} {role} active")).as_ref(), "{name}");
        assert_eq!(world.is_indexed(&email, tenant).await, role.is_some(), "{name}");
    }
}
