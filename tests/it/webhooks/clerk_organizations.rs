//! From `organization.created` to a tenant whose staff call with tokens of Clerk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use narthex::audit::Actor;
use narthex::provisioning::{FailpointAction, FailpointPosition};
use narthex::registry::tenants::{self, Status};
use narthex::webhooks::clerk::Replayed;
use narthex::webhooks::clerk::sample::{self, SampleUser};
use serde_json::{Value, json};

use super::clerk_world::{AT, Organization, World, member, told};
use crate::support::{Answer, ClerkInstance, ClerkKey, TestApp, eventually};

async fn count_of_tenants(world: &World) -> i64 {
    world.app.registry_count("SELECT count(*) FROM tenants").await
}

async fn runs(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM provisioning_runs WHERE kind = 'create_tenant'";
    world.app.registry_count(sql).await
}

#[tokio::test]
async fn an_organization_becomes_a_tenant_and_its_members_call_with_tokens_of_clerk() {
    let key = ClerkKey::first();
    let instance = ClerkInstance::with(&[&key]).await;
    let world = World { app: TestApp::start_with(instance.believed()).await };
    let (ada, bob) = (member("ada"), member("bob"));
    let organization = Organization::made_by(&ada);
    world
        .tell(&[
            told("user.created", &ada, AT),
            organization.created(),
            organization.joined(&ada, "org:admin", AT),
            organization.joined(&bob, "org:member", AT),
        ])
        .await;
    let tenant = world.tenant_of(&organization).await;
    let mut expected =
        [format!("{} owner active", ada.email), format!("{} viewer active", bob.email)];
    expected.sort();
    assert_eq!(world.staff(tenant).await, expected);
    let named = format!(
        "SELECT count(*) FROM tenants WHERE slug = '{}' AND organization_name = '{}'",
        organization.clerk.slug, organization.clerk.name
    );
    assert_eq!(world.app.registry_count(&named).await, 1);

    let call = async |user: &SampleUser, method: reqwest::Method, body: Option<Value>| {
        let token = key.token(&instance.claims(&world.app, &organization.clerk.id, &user.id));
        let url = format!("{}/v1/members", world.app.url);
        let mut request = world.app.client.request(method, url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    };
    let grace = json!({"first_name": "Grace", "phone_number": "+13125550101"});
    let made = call(&ada, reqwest::Method::POST, Some(grace.clone())).await.expect(201);
    let list = call(&bob, reqwest::Method::GET, None).await.expect(200);
    assert_eq!(list["data"], json!([made]));
    let refused = call(&bob, reqwest::Method::POST, Some(grace)).await;
    refused.expect_problem(403, "forbidden");

    world.tell(&[organization.left(&bob, AT + 1)]).await;
    eventually("bob is out", async || {
        call(&bob, reqwest::Method::GET, None).await.code() == "invalid_token"
    })
    .await;
}

#[tokio::test]
async fn however_often_and_wherever_an_organization_is_announced_one_tenant_is_made() {
    let world = World::start().await;
    let other = world.app.replica().await;
    let organization = Organization::made_by(&member("ada"));
    let created = organization.created();
    let sent = (0..20).map(|n| {
        let app = if n % 2 == 0 { &world.app } else { &other };
        app.clerk_sends(&created)
    });
    for answer in futures_util::future::join_all(sent).await {
        answer.expect(200);
    }
    world.quiet().await;
    assert_eq!((count_of_tenants(&world).await, runs(&world).await), (1, 1));
    assert_eq!(world.deliveries("completed").await, 20);
}

#[tokio::test]
async fn an_organization_that_was_deleted_before_it_was_made_never_is() {
    let world = World::start().await;
    let organization = Organization::made_by(&member("ada"));
    let gone = sample::deleted("organization.deleted", &organization.clerk.id, AT + 1);
    world.tell(&[gone, organization.created()]).await;
    assert_eq!((count_of_tenants(&world).await, runs(&world).await), (0, 0));
}

#[tokio::test]
async fn without_its_own_event_no_organization_becomes_a_tenant() {
    let world = World::start().await;
    let ada = member("ada");
    let organization = Organization::made_by(&ada);
    let updated = sample::organization("organization.updated", &organization.clerk, AT + 1);
    world.tell(&[organization.joined(&ada, "org:admin", AT), updated]).await;
    assert_eq!((count_of_tenants(&world).await, runs(&world).await), (0, 0));
    world.tell(&[organization.created()]).await;
    let tenant = world.tenant_of(&organization).await;
    assert_eq!(world.staff(tenant).await, [format!("{} owner active", ada.email)]);
}

#[tokio::test]
async fn a_slug_that_is_no_slug_or_taken_does_not_stand_in_the_way() {
    let world = World::start().await;
    let mut first = Organization::made_by(&member("ada"));
    let mut second = first.clone();
    second.clerk.id.push_str("_second");
    let (mut reserved, mut foreign) = (first.clone(), first.clone());
    reserved.clerk.id.push_str("_reserved");
    reserved.clerk.slug = "admin".to_owned();
    reserved.clerk.name = "API".to_owned();
    foreign.clerk.id.push_str("_foreign");
    foreign.clerk.slug = String::new();
    foreign.clerk.name = "東京教会".to_owned();
    first.clerk.name = "First".to_owned();
    for organization in [&first, &second, &reserved, &foreign] {
        world.tell(&[organization.created()]).await;
        world.tenant_of(organization).await;
    }
    assert_eq!(count_of_tenants(&world).await, 4);
}

#[tokio::test]
async fn whose_maker_owns_another_tenant_becomes_a_second_one() {
    let world = World::start().await;
    let (owner, mut ada) = (world.app.register().await, member("ada"));
    ada.email = owner.email.clone();
    let (first, second) = (Organization::made_by(&ada), Organization::made_by(&ada));
    let mut events = vec![told("user.created", &ada, AT)];
    for organization in [&first, &second] {
        events.extend([organization.created(), organization.joined(&ada, "org:admin", AT)]);
    }
    world.tell(&events).await;
    for organization in [&first, &second] {
        let tenant = world.tenant_of(organization).await;
        assert_eq!(world.staff(tenant).await, [format!("{} owner active", ada.email)]);
        assert!(world.is_indexed(&ada.email, tenant).await);
    }
    assert_eq!((count_of_tenants(&world).await, world.staff(owner.tenant_id).await.len()), (3, 0));
    // The password leads where it always did.
    let body = json!({"email": owner.email, "password": owner.password});
    let in_ = world.app.call(reqwest::Method::POST, "/v1/auth/login", Some(body)).await.expect(200);
    assert_eq!(in_["tenant"]["id"], json!(owner.tenant_id));
    // And whoever is known by Clerk only can register by themselves.
    let bob = member("bob");
    world.tell(&[first.joined(&bob, "org:member", AT), told("user.created", &bob, AT)]).await;
    let mut registration = world.app.registration();
    registration["email"] = json!(bob.email);
    let made = world.app.call(reqwest::Method::POST, "/v1/auth/register", Some(registration)).await;
    made.expect(201);
}

#[tokio::test]
async fn a_run_that_fails_fails_the_delivery_and_a_replay_plans_another() {
    let broken = Arc::new(AtomicBool::new(true));
    let switch = broken.clone();
    let failpoints = Arc::new(move |step: &'static str, moment: FailpointPosition| {
        let fails = step == "database" && moment == FailpointPosition::BeforeEffect;
        (fails && switch.load(Ordering::SeqCst)).then_some(FailpointAction::FailsForGood)
    });
    let app = TestApp::interrupted(failpoints, Box::new(|_| {})).await;
    let (world, ada) = (World { app }, member("ada"));
    let organization = Organization::made_by(&ada);
    world.app.clerk_delivers("msg_created", &organization.created()).await.expect(200);
    eventually("it has failed", async || world.deliveries("failed").await == 1).await;
    // Others of the same organization neither fail nor begin anew.
    let joined = organization.joined(&ada, "org:admin", AT);
    world.app.clerk_delivers("msg_joined", &joined).await.expect(200);
    eventually("it is done", async || world.deliveries("completed").await == 1).await;
    assert_eq!((count_of_tenants(&world).await, runs(&world).await), (0, 1));
    assert_eq!(world.app.clerk.replay("msg_joined").await.unwrap(), Replayed::NotFailed);
    assert_eq!(world.app.clerk.replay("msg_nobody").await.unwrap(), Replayed::Unknown);

    broken.store(false, Ordering::SeqCst);
    assert_eq!(world.app.clerk.replay("msg_created").await.unwrap(), Replayed::Due);
    world.quiet().await;
    let tenant = world.tenant_of(&organization).await;
    assert_eq!((count_of_tenants(&world).await, runs(&world).await), (1, 2));
    assert_eq!(world.staff(tenant).await, [format!("{} owner active", ada.email)]);
}

#[tokio::test]
async fn a_suspended_tenant_is_settled_once_it_is_opened_again() {
    let world = World::start().await;
    let (ada, bob) = (member("ada"), member("bob"));
    let organization = Organization::made_by(&ada);
    world.tell(&[organization.created(), organization.joined(&ada, "org:admin", AT)]).await;
    let tenant = world.tenant_of(&organization).await;
    world.app.registry_execute("UPDATE tenants SET status = 'suspended'").await;
    world.app.clerk_sends(&organization.joined(&bob, "org:member", AT)).await.expect(200);
    eventually("the delivery does not wait for it", async || {
        world.deliveries("processing").await == 0
    })
    .await;
    assert_eq!(world.staff(tenant).await.len(), 1);
    world.app.registry_execute("UPDATE tenants SET status = 'active'").await;
    eventually("bob is staff", async || {
        world.app.clock.advance(chrono::TimeDelta::seconds(10));
        world.staff(tenant).await.len() == 2
    })
    .await;
}

/// Whatever its database was: its people are those of the organization.
#[tokio::test]
async fn a_tenant_whose_database_is_made_anew_gets_its_staff_again() {
    let world = World::start().await;
    let (ada, bob) = (member("ada"), member("bob"));
    let (organization, tenant) = world.settled_organization(&ada).await;
    world
        .tell(&[
            organization.joined(&ada, "org:admin", AT),
            organization.joined(&bob, "org:member", AT),
        ])
        .await;
    let before = world.staff(tenant).await;
    assert_eq!(before.len(), 2);
    let app = &world.app;
    app.router.close();
    let lost = format!("DROP DATABASE {} WITH (FORCE)", tenant.database_name());
    app.cluster.execute("postgres", &lost).await;
    let db = app.registry.connect().await.unwrap();
    let row = tenants::find(&db, tenant).await.unwrap().unwrap();
    drop(db);
    let planned =
        app.provisioner.repair(&row, None, true, &Actor::command("test").into()).await.unwrap();
    app.provisioner.finish(planned).await.unwrap();
    eventually("they are back", async || world.staff(tenant).await == before).await;
}

/// The record of the tenant stays; who its people were does not.
#[tokio::test]
async fn a_purged_tenants_people_are_forgotten_unless_they_are_members_elsewhere() {
    let world = World::start().await;
    let (ada, bob) = (member("ada"), member("bob"));
    let (organization, tenant) = world.settled_organization(&ada).await;
    let (other, elsewhere) = world.settled_organization(&bob).await;
    world
        .tell(&[
            told("user.created", &ada, AT),
            told("user.created", &bob, AT),
            organization.joined(&ada, "org:admin", AT),
            organization.joined(&bob, "org:member", AT),
            other.joined(&bob, "org:admin", AT),
        ])
        .await;
    let app = &world.app;
    let db = app.registry.connect().await.unwrap();
    assert!(tenants::delete(&db, tenant, app.clock.now()).await.unwrap());
    app.registry_execute("UPDATE tenants SET deleted_at = deleted_at - interval '31 days'").await;
    assert_eq!(app.purges.purge_due().await.unwrap(), 1);
    eventually("it is purged", async || {
        tenants::find(&db, tenant).await.unwrap().unwrap().status == Status::Purged
    })
    .await;
    let texts = async |sql: &str| app.cluster.texts(&app.registry_database, sql).await;
    assert_eq!(texts("SELECT id FROM clerk_users").await, std::slice::from_ref(&bob.id));
    assert_eq!(texts("SELECT user_id FROM clerk_memberships").await, std::slice::from_ref(&bob.id));
    assert_eq!(
        texts("SELECT organization_id FROM clerk_staff").await,
        std::slice::from_ref(&other.clerk.id)
    );
    assert_eq!(world.staff(elsewhere).await, [format!("{} owner active", bob.email)]);
    // No other tenant comes of it.
    world.tell(&[organization.created(), organization.joined(&ada, "org:admin", AT + 1)]).await;
    assert_eq!((count_of_tenants(&world).await, runs(&world).await), (2, 2));
}
