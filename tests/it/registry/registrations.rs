//! Keys of registrations, and the runs that they stand for.

use narthex::identifiers::{RunId, TenantId, unguessable_id};
use narthex::registry::RegistryDb;
use narthex::registry::runs::provisioning_runs::{self, NewRun, RunKind};
use narthex::registry::runs::registrations::{find, free, remember};

use crate::support::TestApp;

async fn run(app: &TestApp, db: &RegistryDb) -> RunId {
    let id = RunId(unguessable_id());
    // Of a version that nobody takes up.
    let (kind, version, tenant) = (RunKind::CreateTenant, 99, TenantId::generate());
    let new = NewRun { id, kind, version, tenant, sealed_input: None, steps: &[] };
    provisioning_runs::create(db, new, "test", app.clock.now()).await.unwrap().unwrap();
    id
}

/// Of two that find the same failed registration, the slower one must not free the key that the faster has taken anew.
#[tokio::test]
async fn a_key_is_freed_only_by_whoever_knows_what_it_stands_for() {
    let app = TestApp::start().await;
    let (db, now) = (app.registry.connect().await.unwrap(), app.clock.now());
    let (failed, anew) = (run(&app, &db).await, run(&app, &db).await);
    let (key, owner) = (b"key".to_vec(), unguessable_id());
    let remember = async |run| remember(&db, key.clone(), b"x".to_vec(), run, owner, now).await;
    let stands_for = async || find(&db, &key, now).await.unwrap().map(|found| found.run_id);
    assert!(remember(failed).await.unwrap());
    assert!(!remember(anew).await.unwrap(), "it is taken");
    assert_eq!(stands_for().await, Some(failed));
    free(&db, &key, failed).await.unwrap();
    assert!(remember(anew).await.unwrap());
    free(&db, &key, failed).await.unwrap();
    assert_eq!(stands_for().await, Some(anew));
}
