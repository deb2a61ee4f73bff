//! The registry's own schema, its key, and who may connect.

mod database_servers;
mod registrations;
mod resealing;
mod run_leases;
mod warm_databases;

use chrono::TimeDelta;
use narthex::app::{App, StartError};
use narthex::clock::Clock;
use narthex::configuration::Settings;
use narthex::registry::tenants::domains;
use narthex::registry::{RegistryError, schema};
use rstest::rstest;
use secrecy::SecretString;
use sqlx::Connection;

use crate::support::{TestApp, shared_cluster, unique};

/// A name for a database that does not exist yet.
fn fresh_name() -> String {
    format!("registry_{}", unique())
}

/// What a process needs to open a registry.
fn settings(database: &str) -> Settings {
    let mut settings = Settings::default();
    settings.registry.url = Some(SecretString::from(shared_cluster().url(database)));
    settings.secrets.master_key =
        Some(SecretString::from(narthex::sealing::generate_master_key().unwrap()));
    settings
}

#[tokio::test]
async fn migrating_makes_the_database_and_a_second_time_changes_nothing() {
    let (cluster, name) = (shared_cluster(), fresh_name());
    let applied = schema::migrate(cluster.options(&name)).await.unwrap();
    assert!(!applied.is_empty());
    let before = cluster.contents(&name).await;
    assert_eq!(schema::migrate(cluster.options(&name)).await.unwrap(), Vec::<String>::new());
    assert_eq!(before, cluster.contents(&name).await);
    let status = schema::status(cluster.options(&name)).await.unwrap();
    assert_eq!((status.applied, status.pending), (applied, vec![]));
}

#[tokio::test]
async fn of_many_migrations_at_once_one_does_the_work() {
    let (cluster, name) = (shared_cluster(), fresh_name());
    let runs = (0..4).map(|_| schema::migrate(cluster.options(&name)));
    let applied: Vec<Vec<String>> =
        futures_util::future::join_all(runs).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(applied.iter().filter(|names| !names.is_empty()).count(), 1, "{applied:?}");
}

#[rstest]
#[case::no_database(None)]
#[case::empty(Some("SELECT 1"))]
#[case::behind(Some(
    "CREATE TABLE seaql_migrations (version text PRIMARY KEY, applied_at bigint NOT NULL)"
))]
#[tokio::test]
async fn a_registry_that_is_behind_is_not_opened(#[case] prepare: Option<&str>) {
    let (cluster, name) = (shared_cluster(), fresh_name());
    if let Some(sql) = prepare {
        cluster.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        cluster.execute(&name, sql).await;
    }
    let error = App::open(settings(&name), Clock::system()).await.err().unwrap();
    assert!(matches!(error, StartError::Registry(RegistryError::SchemaBehind(_))), "{error:?}");
    assert!(error.to_string().contains("`narthex migrate registry`"), "{error}");
}

#[tokio::test]
async fn with_another_master_key_nothing_starts_and_nothing_is_written() {
    let app = TestApp::start().await;
    app.register().await;
    let before = app.cluster.contents(&app.registry_database).await;
    let error = App::open(settings(&app.registry_database), Clock::system()).await.err().unwrap();
    assert!(error.to_string().contains("master key"), "{error}");
    assert_eq!(before, app.cluster.contents(&app.registry_database).await);
}

#[tokio::test]
async fn a_previous_master_key_still_opens_what_it_sealed() {
    let app = TestApp::start().await;
    app.register().await;
    let mut rotated = settings(&app.registry_database);
    rotated.secrets.previous_master_keys =
        app.settings.secrets.master_key.clone().into_iter().collect();
    App::open(rotated, Clock::system()).await.unwrap().close().await;
}

#[tokio::test]
async fn replicas_that_start_first_at_once_agree_on_the_keys() {
    let (cluster, name) = (shared_cluster(), fresh_name());
    schema::migrate(cluster.options(&name)).await.unwrap();
    let settings = settings(&name);
    let opened = futures_util::future::join_all(
        (0..4).map(|_| App::open(settings.clone(), Clock::system())),
    )
    .await;
    let apps: Vec<App> = opened.into_iter().map(Result::unwrap).collect();
    let email = "ada@example.org".parse().unwrap();
    let hashes: Vec<Vec<u8>> = apps.iter().map(|app| app.registry.hasher().email(&email)).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    for app in apps {
        app.close().await;
    }
}

#[tokio::test]
async fn nobody_connects_without_a_right_of_their_own() {
    let (app, registry, role) =
        (TestApp::start().await, fresh_name(), format!("stranger_{}", unique()));
    schema::migrate(app.cluster.options(&registry)).await.unwrap();
    app.cluster.execute("postgres", &format!("CREATE ROLE {role} LOGIN PASSWORD 'stranger'")).await;
    let tenant = app.register().await.database();
    for database in [registry.as_str(), &tenant, "postgres", "template1"] {
        let options = app.cluster.options(database).username(&role).password("stranger");
        let error = sqlx::PgConnection::connect_with(&options).await.err().unwrap();
        let code =
            error.as_database_error().and_then(|e| e.code().map(std::borrow::Cow::into_owned));
        assert_eq!(code.as_deref(), Some("42501"), "{database}: {error}");
    }
}

#[tokio::test]
async fn a_number_is_never_held_twice_whoever_comes_first() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await, app.register().await);
    let number = "+13125550111".parse().unwrap();
    let assign = async |tenant| {
        let db = app.registry.connect().await.unwrap();
        narthex::registry::tenants::phone_numbers::assign(&db, &number, tenant, app.clock.now())
            .await
            .unwrap()
    };
    let (first, second) = tokio::join!(assign(a.tenant_id), assign(b.tenant_id));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    // Whoever has it keeps it, and asking again changes nothing.
    let holder = if first.is_ok() { a.tenant_id } else { b.tenant_id };
    app.clock.advance(TimeDelta::hours(1));
    assign(holder).await.unwrap();
    assert_eq!(app.registry_count("SELECT count(*) FROM phone_numbers").await, 1);
}

#[tokio::test]
async fn a_claim_on_a_domain_is_proven_once_and_by_one_tenant() {
    let app = TestApp::start().await;
    let (a, b) = (app.register().await.tenant_id, app.register().await.tenant_id);
    let domain = format!("{}.example.net", unique());
    let db = app.registry.connect().await.unwrap();
    let prove =
        async |tenant| domains::record_proven(&db, &domain, tenant, app.clock.now()).await.unwrap();
    let proven_at = async || {
        let sql = "SELECT proven_at::text FROM domains WHERE proven_at IS NOT NULL";
        app.cluster.texts(&app.registry_database, sql).await
    };
    for tenant in [a, b] {
        let sql = format!("INSERT INTO domains VALUES ('{domain}', '{tenant}', NULL, now())");
        app.registry_execute(&sql).await;
    }
    assert_eq!(domains::holder_of(&db, &domain).await.unwrap(), None);
    assert_eq!(prove(a).await, Ok(()));
    assert_eq!(domains::holder_of(&db, &domain).await.unwrap(), Some(a));
    let first = proven_at().await;
    app.clock.advance(TimeDelta::hours(1));
    assert_eq!(prove(a).await, Ok(()));
    assert_eq!(proven_at().await, first);
    // Neither a claim of its own nor none changes that the domain is taken.
    assert_eq!(prove(b).await, Err(domains::DomainTaken));
    app.registry_execute(&format!("DELETE FROM domains WHERE tenant_id = '{b}'")).await;
    assert_eq!(prove(b).await, Err(domains::DomainTaken));
    assert_eq!(domains::holder_of(&db, &domain).await.unwrap(), Some(a));
}

#[tokio::test]
async fn a_tenant_that_is_still_being_made_gets_no_number() {
    let app = TestApp::start().await;
    let staff = app.register().await;
    let number = "+13125550107".parse().unwrap();
    let db = app.registry.connect().await.unwrap();
    let assign = async || {
        narthex::registry::tenants::phone_numbers::assign(
            &db,
            &number,
            staff.tenant_id,
            app.clock.now(),
        )
        .await
    };
    app.registry_execute("UPDATE tenants SET status = 'provisioning'").await;
    let refused = Err(narthex::registry::tenants::phone_numbers::NotAssigned::TenantNotActive);
    assert_eq!(assign().await.unwrap(), refused);
    app.registry_execute("UPDATE tenants SET status = 'active'").await;
    assert_eq!(assign().await.unwrap(), Ok(()));
    assert_eq!(app.registry_count("SELECT count(*) FROM phone_numbers").await, 1);
}
