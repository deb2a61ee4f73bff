//! Who finds the line full is turned away, and nothing is written.

use narthex::provisioning::StartRunError;

use super::{new_tenant, things};
use crate::support::{TestApp, eventually};

#[tokio::test]
async fn who_finds_the_line_full_is_turned_away_and_nothing_is_written() {
    const PLACES: i64 = 32;
    const STEPS: i64 = 7;
    let app = TestApp::start_with(Box::new(|settings| settings.provisioning.concurrency = 1)).await;
    let mut holder = app.cluster.connect(&app.registry_database).await;
    sqlx::Executor::execute(&mut holder, "BEGIN; LOCK TABLE tenants IN EXCLUSIVE MODE")
        .await
        .unwrap();
    for _ in 0..PLACES {
        app.provisioner.start(&new_tenant(), None).await.unwrap();
    }
    let written = async || {
        let runs = app.registry_count("SELECT count(*) FROM provisioning_runs").await;
        let steps = app.registry_count("SELECT count(*) FROM provisioning_steps").await;
        (runs, steps, things(&app).await)
    };
    let full = (PLACES, PLACES * STEPS, 0);
    assert_eq!(written().await, full);
    let refused = app.provisioner.start(&new_tenant(), None).await.err();
    assert!(matches!(refused, Some(StartRunError::Busy)), "{refused:?}");
    let answer = app.call(reqwest::Method::POST, "/v1/auth/register", Some(app.registration()));
    answer.await.expect_problem(503, "busy");
    assert_eq!(written().await, full);
    sqlx::Executor::execute(&mut holder, "ROLLBACK").await.unwrap();
    eventually("a place is free again", async || {
        app.provisioner.start(&new_tenant(), None).await.is_ok()
    })
    .await;
}
