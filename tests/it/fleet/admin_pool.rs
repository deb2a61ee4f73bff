//! A run leaves its connection for administration to the next one: without a lock, and not for ever.

use narthex::registry::runs::provisioning_runs::RunStatus;

use crate::provisioning::{new_tenant, run};
use crate::support::{TestApp, TestCluster, eventually, own_cluster};

/// The connections for administration that somebody holds, oldest first.
const HELD: &str = "SELECT pid::text FROM pg_stat_activity
    WHERE datname = 'postgres' AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY backend_start";
const LOCKS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";

async fn register(app: &TestApp) {
    let (outcome, run, steps) = run(&app.provisioner, &new_tenant()).await;
    outcome.unwrap();
    assert_eq!(run.status, RunStatus::Completed);
    let attempts: Vec<_> = steps.iter().map(|step| step.attempts).collect();
    assert!(attempts.iter().all(|attempts| *attempts == 1), "{attempts:?}");
}

#[tokio::test]
async fn the_next_run_goes_on_with_the_connection_of_the_last() {
    let cluster = own_cluster().await;
    let second = TestCluster::of(&cluster);
    let app = TestApp::start_with(Box::new(|settings| settings.provisioning.spares = 0)).await;
    app.add_server(&second).await;
    let held = || second.texts("postgres", HELD);
    register(&app).await;
    let first = held().await;
    assert_eq!((first.len(), second.count("postgres", LOCKS).await), (1, 0));
    register(&app).await;
    assert_eq!(held().await, first, "another connection was opened");
    // One that the server has ended is no reason for a failed attempt.
    second.execute("postgres", &format!("SELECT pg_terminate_backend({})", first[0])).await;
    register(&app).await;
    let third = held().await;
    assert_eq!((third.len(), second.count("postgres", LOCKS).await), (1, 0));
    assert_ne!(third, first);
    // To a server that is reached otherwise by now, no old connection leads.
    app.registry_execute("UPDATE database_servers SET max_tenants = max_tenants + 1").await;
    register(&app).await;
    assert_eq!(held().await.len(), 2);
    eventually("connections that nobody uses are closed", || async { held().await.is_empty() })
        .await;
}
