//! The database server goes away in the middle of a run, and comes back: the run is completed by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use local_cluster::LocalCluster;
use narthex::provisioning::{FailpointAction, FailpointPosition, Failpoints};
use narthex::registry::runs::provisioning_runs::RunStatus;
use rstest::rstest;
use tokio::sync::Mutex;

use super::{new_tenant, on_server, run};
use crate::support::{TestApp, TestCluster, TestSettings, eventually, own_cluster};

/// Tenants are made on another server than the registry is on; that one dies.
#[rstest]
#[tokio::test]
async fn a_tenants_server_that_comes_back_gets_its_tenant(
    #[values("role", "database", "schema", "owner")] step: &'static str,
) {
    let cluster = own_cluster().await;
    let second = TestCluster::of(&cluster);
    let (dies, is_back) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let cluster = Arc::new(Mutex::new(cluster));
    let crashed = Arc::new(tokio::sync::Notify::new());
    let failpoints: Failpoints = {
        let (dies, is_back, crashed) = (dies.clone(), is_back.clone(), crashed.clone());
        Arc::new(move |at, when| {
            if (at, when) != (step, FailpointPosition::BeforeEffect) {
                return None;
            }
            if dies.swap(false, Ordering::SeqCst) {
                crashed.notify_one();
            }
            // Until the server is really gone.
            (!is_back.load(Ordering::SeqCst)).then_some(FailpointAction::Fails)
        })
    };
    let app = TestApp::interrupted(failpoints, Box::new(|_| {})).await;
    app.add_server(&second).await;
    let outage = tokio::spawn({
        let (cluster, is_back) = (cluster.clone(), is_back.clone());
        async move {
            crashed.notified().await;
            let mut cluster: tokio::sync::MutexGuard<'_, LocalCluster> = cluster.lock().await;
            cluster.crash().await.unwrap();
            is_back.store(true, Ordering::SeqCst);
            // Some attempts meet a server that is away.
            tokio::time::sleep(Duration::from_millis(900)).await;
            cluster.restart().await.unwrap();
        }
    });
    let (outcome, run_row, steps) = run(&app.provisioner, &new_tenant()).await;
    outage.await.unwrap();
    let made = outcome.unwrap();
    assert_eq!(run_row.status, RunStatus::Completed);
    assert!(steps.iter().find(|found| found.name == step).unwrap().attempts > 1);
    let name = made.tenant_id.database_name();
    let there = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(
        (second.count("postgres", &there).await, on_server(&app, made.tenant_id).await),
        (1, 0)
    );
    app.tenant_db(made.tenant_id).await;
}

/// The server of both dies: nothing can even be recorded.
#[tokio::test]
async fn a_registry_that_comes_back_finds_the_run_and_completes_it() {
    let mut cluster = own_cluster().await;
    let settings: TestSettings =
        Box::new(|settings| settings.provisioning.lease = Duration::from_secs(2));
    let app = TestApp::start_on(TestCluster::of(&cluster), settings).await;
    let started = app.provisioner.start(&new_tenant(), None).await.unwrap();
    cluster.crash().await.unwrap();
    let outcome = tokio::spawn(started.outcome());
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.restart().await.unwrap();
    let made = tokio::time::timeout(Duration::from_secs(60), outcome).await;
    let made = made.expect("the run does not end").unwrap().unwrap();
    assert_eq!(on_server(&app, made.tenant_id).await, 2);
}

/// The larger server does not answer: whoever comes now goes to the other one, and whoever has a place on it waits.
#[tokio::test]
async fn a_server_that_does_not_answer_gets_no_further_tenants() {
    let mut cluster = own_cluster().await;
    let app = TestApp::start().await;
    app.add_server(&TestCluster::of(&cluster)).await;
    cluster.crash().await.unwrap();
    let waiting = app.provisioner.start(&new_tenant(), None).await.unwrap();
    let place = format!(
        "SELECT count(*) FROM tenants t JOIN database_servers s ON s.id = server_id
        WHERE t.id = '{}' AND s.name = 'second'",
        waiting.planned.tenant_id
    );
    eventually("it has its place", async || app.registry_count(&place).await == 1).await;
    eventually("it has been tried", async || {
        app.registry_count("SELECT count(*) FROM provisioning_steps WHERE name = 'role' AND last_error IS NOT NULL").await > 0
    })
    .await;
    let made = run(&app.provisioner, &new_tenant()).await.0.unwrap();
    assert_eq!(on_server(&app, made.tenant_id).await, 2);
    cluster.restart().await.unwrap();
    let made = tokio::time::timeout(Duration::from_secs(60), waiting.outcome()).await;
    made.expect("the run does not end").unwrap();
    assert_eq!(app.registry_count(&place).await, 1);
}
