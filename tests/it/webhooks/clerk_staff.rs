//! Staff and email index follow users and memberships, whatever the order.

use narthex::webhooks::clerk::sample;
use reqwest::Method;
use serde_json::{Value, json};

use super::clerk_world::{AT, Organization, World, member, told};
use crate::support::eventually;

#[tokio::test]
async fn a_member_becomes_staff_and_a_former_one_is_disabled() {
    let world = World::start().await;
    let (ada, bob) = (member("ada"), member("bob"));
    let (organization, tenant) = world.settled_organization(&ada).await;
    world
        .tell(&[
            told("user.created", &ada, AT),
            told("user.created", &bob, AT),
            organization.joined(&ada, "org:admin", AT),
            organization.joined(&bob, "org:admin", AT),
        ])
        .await;
    let (a, b) = (&ada.email, &bob.email);
    assert_eq!(
        world.staff(tenant).await,
        [format!("{a} owner active"), format!("{b} admin active")]
    );
    assert!(world.is_indexed(a, tenant).await && world.is_indexed(b, tenant).await);

    world.tell(&[organization.changed(&bob, "org:member", AT + 1)]).await;
    assert_eq!(world.staff(tenant).await[1], format!("{b} viewer active"));
    world.tell(&[organization.left(&bob, AT + 2)]).await;
    assert_eq!(world.staff(tenant).await[1], format!("{b} viewer disabled"));
    assert!(!world.is_indexed(b, tenant).await);

    // A late beginning changes nothing; a new one brings him back, as the same member of staff.
    world.tell(&[organization.joined(&bob, "org:member", AT)]).await;
    assert_eq!(world.staff(tenant).await[1], format!("{b} viewer disabled"));
    world.tell(&[organization.joined(&bob, "org:admin", AT + 3)]).await;
    assert_eq!(world.staff(tenant).await[1], format!("{b} admin active"));
    assert!(world.is_indexed(b, tenant).await);
}

/// What is written beside deliveries that are completed.
async fn remarks(world: &World) -> Vec<String> {
    let sql = "SELECT event_type || ': ' || reason FROM webhook_deliveries
        WHERE status = 'completed' AND reason IS NOT NULL ORDER BY received_at";
    world.app.cluster.texts(&world.app.registry_database, sql).await
}

#[tokio::test]
async fn a_member_without_an_address_is_no_staff_and_the_delivery_says_so() {
    let world = World::start().await;
    let (ada, mut nameless) = (member("ada"), member("nameless"));
    let (organization, tenant) = world.settled_organization(&ada).await;
    world.tell(&[told("user.created", &ada, AT), organization.joined(&ada, "org:admin", AT)]).await;
    assert_eq!(remarks(&world).await, [""; 0]);
    let email = std::mem::replace(&mut nameless.email, "nameless".to_owned());
    world.tell(&[told("user.created", &nameless, AT)]).await;
    world.tell(&[organization.joined(&nameless, "org:member", AT)]).await;
    let told_of = "organizationMembership.created: 1 member(s) without an email address that is known are \
        not on the staff";
    assert_eq!(remarks(&world).await, [told_of]);
    assert_eq!(world.staff(tenant).await, [format!("{} owner active", ada.email)]);
    nameless.email = email;
    world.tell(&[told("user.updated", &nameless, AT + 1)]).await;
    assert_eq!(remarks(&world).await, [told_of]);
    assert_eq!(world.staff(tenant).await[1], format!("{} viewer active", nameless.email));
}

#[tokio::test]
async fn who_is_banned_at_clerk_is_out_until_they_are_not() {
    let world = World::start().await;
    let (ada, eve) = (member("ada"), member("eve"));
    let (organization, tenant) = world.settled_organization(&ada).await;
    world
        .tell(&[
            told("user.created", &ada, AT),
            told("user.created", &eve, AT),
            organization.joined(&ada, "org:admin", AT),
            organization.joined(&eve, "org:admin", AT),
        ])
        .await;
    let banned = |is_banned: bool, at: i64| {
        let mut event = told("user.updated", &eve, at);
        event["data"]["banned"] = json!(is_banned);
        event
    };
    world.tell(&[banned(true, AT + 1)]).await;
    assert_eq!(world.staff(tenant).await[1], format!("{} admin disabled", eve.email));
    assert!(!world.is_indexed(&eve.email, tenant).await);
    assert_eq!(
        remarks(&world).await,
        ["user.updated: 1 member(s) banned at Clerk are not on the staff"]
    );
    world.tell(&[banned(false, AT + 2)]).await;
    assert_eq!(world.staff(tenant).await[1], format!("{} admin active", eve.email));
    assert!(world.is_indexed(&eve.email, tenant).await);
}

#[tokio::test]
async fn whoever_made_the_organization_owns_it_as_long_as_they_manage_its_members() {
    let world = World::start().await;
    let ada = member("ada");
    let (organization, tenant) = world.settled_organization(&ada).await;
    let joined = organization.joined(&ada, "org:founder", AT);
    world.tell(&[told("user.created", &ada, AT), joined]).await;
    assert_eq!(world.staff(tenant).await, [format!("{} owner active", ada.email)]);
    for (at, role, ours) in
        [(1, "org:reader", "viewer"), (2, "org:admin", "owner"), (3, "org:member", "viewer")]
    {
        world.tell(&[organization.changed(&ada, role, AT + at)]).await;
        assert_eq!(world.staff(tenant).await, [format!("{} {ours} active", ada.email)], "{role}");
    }
}

#[tokio::test]
async fn a_membership_alone_is_enough_and_the_user_event_corrects_it() {
    let world = World::start().await;
    let mut ada = member("ada");
    let (organization, tenant) = world.settled_organization(&ada).await;
    world.tell(&[organization.joined(&ada, "org:admin", AT + 9)]).await;
    let shown = ada.email.clone();
    assert_eq!(world.staff(tenant).await, [format!("{shown} owner active")]);
    ada.email = member("ada").email;
    world.tell(&[told("user.created", &ada, AT)]).await;
    assert_eq!(world.staff(tenant).await, [format!("{} owner active", ada.email)]);
    assert!(world.is_indexed(&ada.email, tenant).await && !world.is_indexed(&shown, tenant).await);
}

#[tokio::test]
async fn a_new_address_is_followed_and_the_old_one_forgotten() {
    let world = World::start().await;
    let mut ada = member("ada");
    let (organization, tenant) = world.settled_organization(&ada).await;
    let joined = organization.joined(&ada, "org:admin", AT);
    world.tell(&[told("user.created", &ada, AT), joined]).await;
    let old = std::mem::replace(&mut ada.email, member("ada").email);
    world.tell(&[told("user.updated", &ada, AT + 2)]).await;
    assert_eq!(world.staff(tenant).await, [format!("{} owner active", ada.email)]);
    assert!(world.is_indexed(&ada.email, tenant).await && !world.is_indexed(&old, tenant).await);
    // What is older than what is known is no news.
    let before = sample::SampleUser { email: old.clone(), ..ada.clone() };
    world.tell(&[told("user.updated", &before, AT + 1)]).await;
    assert_eq!(world.staff(tenant).await, [format!("{} owner active", ada.email)]);
    assert_eq!(world.indexed(tenant).await, 1);
}

#[tokio::test]
async fn two_members_can_exchange_their_addresses() {
    let world = World::start().await;
    let (mut ada, mut bob) = (member("ada"), member("bob"));
    let (organization, tenant) = world.settled_organization(&ada).await;
    for user in [&ada, &bob] {
        let joined = organization.joined(user, "org:founder", AT);
        world.tell(&[told("user.created", user, AT), joined]).await;
    }
    std::mem::swap(&mut ada.email, &mut bob.email);
    world.tell(&[told("user.updated", &ada, AT + 1)]).await;
    // Bob has not been heard of yet: the address is Ada's, and his own name stays his.
    let between = world.staff(tenant).await;
    assert!(between.contains(&format!("{} owner active", ada.email)), "{between:?}");
    world.tell(&[told("user.updated", &bob, AT + 2)]).await;
    let mut expected =
        [format!("{} owner active", ada.email), format!("{} viewer active", bob.email)];
    expected.sort();
    assert_eq!(world.staff(tenant).await, expected);
    assert_eq!(world.indexed(tenant).await, 2);
    assert!(
        world.is_indexed(&ada.email, tenant).await && world.is_indexed(&bob.email, tenant).await
    );
}

#[tokio::test]
async fn somebody_new_can_have_the_address_of_somebody_who_is_gone() {
    let world = World::start().await;
    let (ada, mut bob) = (member("ada"), member("bob"));
    let (organization, tenant) = world.settled_organization(&member("maker")).await;
    let joined = organization.joined(&ada, "org:member", AT);
    world.tell(&[told("user.created", &ada, AT), joined]).await;
    world.tell(&[sample::deleted("user.deleted", &ada.id, AT + 1)]).await;
    assert_eq!(world.staff(tenant).await, [format!("{} viewer disabled", ada.email)]);
    assert!(!world.is_indexed(&ada.email, tenant).await);
    bob.email.clone_from(&ada.email);
    let joined = organization.joined(&bob, "org:member", AT + 2);
    world.tell(&[told("user.created", &bob, AT + 2), joined]).await;
    let staff = world.staff(tenant).await;
    assert!(staff.contains(&format!("{} viewer active", bob.email)), "{staff:?}");
    assert_eq!((staff.len(), world.indexed(tenant).await), (2, 1));
}

#[tokio::test]
async fn a_user_is_staff_of_every_organization_they_belong_to() {
    let world = World::start().await;
    let ada = member("ada");
    let (first, first_tenant) = world.settled_organization(&ada).await;
    let (second, second_tenant) = world.settled_organization(&member("bob")).await;
    world
        .tell(&[
            first.joined(&ada, "org:admin", AT),
            second.joined(&ada, "org:member", AT),
            told("user.created", &ada, AT),
        ])
        .await;
    let email = &ada.email;
    assert_eq!(world.staff(first_tenant).await, [format!("{email} owner active")]);
    assert_eq!(world.staff(second_tenant).await, [format!("{email} viewer active")]);
    world.tell(&[sample::deleted("user.deleted", &ada.id, AT)]).await;
    assert_eq!(world.staff(first_tenant).await, [format!("{email} owner disabled")]);
    assert_eq!(world.staff(second_tenant).await, [format!("{email} viewer disabled")]);
    // Late news of somebody who is gone brings nobody back, and nothing of them.
    let again = first.joined(&ada, "org:admin", AT + 9);
    world.tell(&[told("user.updated", &ada, AT + 9), again]).await;
    assert_eq!(world.staff(first_tenant).await, [format!("{email} owner disabled")]);
    let kept = format!(
        "SELECT count(*) FROM clerk_users WHERE id = '{}' AND sealed_profile IS NOT NULL",
        ada.id
    );
    assert_eq!(world.app.registry_count(&kept).await, 0);
}

#[tokio::test]
async fn the_end_of_an_organization_disables_its_staff_and_leaves_its_tenant() {
    let world = World::start().await;
    let ada = member("ada");
    let (organization, tenant) = world.settled_organization(&ada).await;
    world.tell(&[organization.joined(&ada, "org:admin", AT)]).await;
    let gone = sample::deleted("organization.deleted", &organization.clerk.id, AT + 1);
    world.tell(&[gone]).await;
    assert_eq!(world.staff(tenant).await, [format!("{} owner disabled", ada.email)]);
    let active =
        format!("SELECT count(*) FROM tenants WHERE id = '{tenant}' AND status = 'active'");
    assert_eq!(world.app.registry_count(&active).await, 1);
}

/// An organization whose tenant has an owner who registered by themselves.
async fn with_own_owner(
    world: &World,
    maker: &sample::SampleUser,
) -> (Organization, crate::support::Staff) {
    let (organization, owner) = (Organization::made_by(maker), world.app.register().await);
    world
        .app
        .registry_execute(&format!(
            "INSERT INTO clerk_organizations (id, tenant_id, run_id, created_seen, next_settle_at)
         VALUES ('{}', '{}', gen_random_uuid(), true, now())",
            organization.clerk.id, owner.tenant_id
        ))
        .await;
    (organization, owner)
}

async fn login(world: &World, email: &str, password: &str) -> crate::support::Answer {
    let body = json!({"email": email, "password": password});
    world.app.call(Method::POST, "/v1/auth/login", Some(body)).await
}

#[tokio::test]
async fn an_account_with_a_password_is_linked_where_the_address_is_proven_and_keeps_both() {
    let world = World::start().await;
    let mut ada = member("ada");
    let (organization, owner) = with_own_owner(&world, &ada).await;
    ada.email = owner.email.clone();
    let joined = organization.joined(&ada, "org:member", AT);
    world.tell(&[told("user.created", &ada, AT), joined]).await;
    assert_eq!(world.staff(owner.tenant_id).await, [format!("{} owner active", owner.email)]);
    login(&world, &owner.email, &owner.password).await.expect(200);
    assert!(world.is_indexed(&owner.email, owner.tenant_id).await);
}

#[tokio::test]
async fn whoever_is_removed_at_clerk_loses_the_session_of_a_password_too() {
    let world = World::start().await;
    let other = world.app.replica().await;
    let mut ada = member("ada");
    let (organization, owner) = with_own_owner(&world, &ada).await;
    ada.email = owner.email.clone();
    let joined = organization.joined(&ada, "org:admin", AT);
    world.tell(&[told("user.created", &ada, AT), joined]).await;
    owner.get("/v1/members").await.expect(200);
    // The tenant's database has noted it, and the registry has not: as after a crash between the two.
    world.app.cluster.execute(&owner.database(), "UPDATE staff SET status = 'disabled'").await;
    owner.get("/v1/members").await.expect(200);
    world.tell(&[organization.left(&ada, AT + 1)]).await;
    for caller in [owner.clone(), owner.at(&other)] {
        eventually("the token is worth nothing", async || {
            caller.get("/v1/members").await.code() == "token_revoked"
        })
        .await;
    }
    let body = json!({"refresh_token": owner.refresh_token});
    let refreshed = world.app.call(Method::POST, "/v1/auth/refresh", Some(body)).await;
    refreshed.expect_problem(401, "invalid_token");
    let refused = login(&world, &owner.email, &owner.password).await;
    refused.expect_problem(401, "invalid_credentials");
    assert!(!world.is_indexed(&owner.email, owner.tenant_id).await);
}

#[tokio::test]
async fn who_is_at_home_in_one_tenant_signs_in_although_another_is_away() {
    let world = World::start().await;
    let (own, ada) = (world.app.register().await, member("ada"));
    let (organization, away) = with_own_owner(&world, &ada).await;
    let bob = sample::SampleUser { email: own.email.clone(), ..member("bob") };
    let joined = organization.joined(&bob, "org:member", AT);
    world.tell(&[told("user.created", &bob, AT), joined]).await;
    assert!(world.is_indexed(&own.email, away.tenant_id).await);
    world.app.cluster.execute(&away.database(), "ALTER TABLE staff RENAME TO elsewhere").await;
    let signed_in = login(&world, &own.email, &own.password).await.expect(200);
    assert_eq!(signed_in["tenant"]["id"], json!(own.tenant_id));
    // To say that the other is away would say that there is another.
    let unknown = login(&world, &own.email, "another long password").await;
    unknown.expect_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn nobody_hides_an_account_by_putting_its_address_on_the_staff_of_many_others() {
    let world = World::start().await;
    let owner = world.app.register().await;
    let hash = hex::encode(world.app.registry.hasher().email(&owner.email.parse().unwrap()));
    world.app.registry_execute(&format!(
        "INSERT INTO tenants SELECT (jsonb_populate_record(t, jsonb_build_object(
             'id', gen_random_uuid(), 'slug', 'other-' || n, 'status', 'suspended',
             'database_name', 'nowhere_' || n, 'role_name', 'nobody_' || n))).* FROM tenants t, generate_series(1, 25) n;
         INSERT INTO email_index (email_hash, tenant_id, created_at)
         SELECT '\\x{hash}', id, now() - interval '1 day' FROM tenants WHERE status = 'suspended'"
    )).await;
    login(&world, &owner.email, &owner.password).await.expect(200);
}

#[tokio::test]
async fn an_account_with_a_password_is_not_given_to_whoever_claims_its_address() {
    let world = World::start().await;
    let (mut ada, bob) = (member("ada"), member("bob"));
    let (organization, owner) = with_own_owner(&world, &ada).await;
    ada.email = owner.email.clone();
    for (id, event) in [
        ("msg_created", sample::user("user.created", &ada, false, AT)),
        ("msg_ada", organization.joined(&ada, "org:member", AT)),
        ("msg_bob", organization.joined(&bob, "org:member", AT)),
    ] {
        world.app.clerk_delivers(id, &event).await.expect(200);
    }
    eventually("the delivery waits with a reason", async || {
        let waiting =
            "SELECT count(*) FROM webhook_deliveries WHERE reason LIKE '%has not verified%'";
        world.app.registry_count(waiting).await >= 1
    })
    .await;
    // Nobody else has to wait for that.
    let staff = [format!("{} viewer active", bob.email)];
    eventually("bob is staff", async || world.staff(owner.tenant_id).await == staff).await;
    let done = "SELECT delivery_id FROM webhook_deliveries WHERE status = 'completed'";
    let done = async || world.app.cluster.texts(&world.app.registry_database, done).await;
    eventually("his delivery is done", async || done().await.contains(&"msg_bob".to_owned())).await;
    assert!(!done().await.contains(&"msg_ada".to_owned()));
    world.app.clerk_sends(&told("user.updated", &ada, AT + 1)).await.expect(200);
    eventually("ada is staff once her address is proven", async || {
        world.app.clock.advance(chrono::TimeDelta::seconds(5));
        world.staff(owner.tenant_id).await.len() == 2
    })
    .await;
}

#[tokio::test]
async fn nobody_signs_in_with_a_password_to_an_account_that_has_none() {
    let world = World::start().await;
    let ada = member("ada");
    let (organization, _) = world.settled_organization(&ada).await;
    world.tell(&[organization.joined(&ada, "org:admin", AT)]).await;
    for password in ["!", "", "a long enough password"] {
        let answer = login(&world, &ada.email, password).await;
        if password.len() >= 10 {
            answer.expect_problem(401, "invalid_credentials");
        } else {
            assert!(answer.status == 401 || answer.status == 422, "{}", answer.status);
        }
    }
}

#[tokio::test]
async fn what_broke_off_between_the_databases_is_put_right_by_settling_again() {
    let world = World::start().await;
    let mut ada = member("ada");
    let (organization, tenant) = world.settled_organization(&ada).await;
    let joined = organization.joined(&ada, "org:admin", AT);
    world.tell(&[told("user.created", &ada, AT), joined]).await;
    let old = std::mem::replace(&mut ada.email, member("ada").email);
    // The tenant's database has it, and the registry does not: as after a crash between the two.
    let ahead = format!("UPDATE staff SET email = '{}' WHERE email = '{old}'", ada.email);
    world.app.cluster.execute(&tenant.database_name(), &ahead).await;
    world.tell(&[told("user.updated", &ada, AT + 1)]).await;
    assert!(world.is_indexed(&ada.email, tenant).await && !world.is_indexed(&old, tenant).await);
    // And the other way round: nothing at all had been noted.
    world.app.registry_execute("DELETE FROM clerk_staff").await;
    world
        .app
        .registry_execute(&format!("DELETE FROM email_index WHERE tenant_id = '{tenant}'"))
        .await;
    world.app.registry_execute("UPDATE clerk_organizations SET changes = changes + 1").await;
    world.quiet().await;
    assert!(world.is_indexed(&ada.email, tenant).await);
    assert_eq!(world.staff(tenant).await, [format!("{} owner active", ada.email)]);
}

/// A story in which everything happens, told in `order` (with repetitions).
fn story(organization: &Organization, [ada, bob, eve]: [&sample::SampleUser; 3]) -> Vec<Value> {
    let renamed = |user: &sample::SampleUser, to: &str| sample::SampleUser {
        email: to.to_owned(),
        ..user.clone()
    };
    vec![
        organization.created(),
        told("user.created", ada, AT),
        told("user.created", bob, AT),
        told("user.created", eve, AT),
        organization.joined(ada, "org:admin", AT),
        organization.joined(bob, "org:member", AT),
        organization.joined(eve, "org:member", AT),
        organization.changed(bob, "org:admin", AT + 5),
        organization.left(eve, AT + 6),
        // They exchange their addresses.
        told("user.updated", &renamed(ada, &bob.email), AT + 7),
        told("user.updated", &renamed(bob, &ada.email), AT + 8),
        sample::deleted("user.deleted", &eve.id, AT + 9),
    ]
}

#[tokio::test]
async fn any_order_and_any_number_of_events_end_in_the_same() {
    let world = World::start().await;
    let mut random = fastrand::Rng::new();
    let mut cases = Vec::new();
    for _ in 0..8 {
        let people = [member("ada"), member("bob"), member("eve")];
        let (organization, tenant) = world.settled_organization(&people[0]).await;
        let mut events = story(&organization, [&people[0], &people[1], &people[2]]);
        for _ in 0..6 {
            events.push(events[random.usize(..events.len())].clone());
        }
        random.shuffle(&mut events);
        let sent = events.iter().map(|event| world.app.clerk_sends(event));
        for answer in futures_util::future::join_all(sent).await {
            answer.expect(200);
        }
        cases.push((people, tenant, events));
    }
    world.quiet().await;
    for (people, tenant, events) in cases {
        let [ada, bob, eve] = people;
        let mut expected =
            [format!("{} owner active", bob.email), format!("{} admin active", ada.email)];
        expected.sort();
        let staff = world.staff(tenant).await;
        let active: Vec<_> = staff.iter().filter(|row| row.ends_with(" active")).collect();
        assert_eq!(active, expected.iter().collect::<Vec<_>>(), "{events:#?}");
        assert_eq!(world.indexed(tenant).await, 2, "{events:#?}");
        assert!(!world.is_indexed(&eve.email, tenant).await);
        for email in [&ada.email, &bob.email] {
            assert!(world.is_indexed(email, tenant).await, "{events:#?}");
        }
    }
}
