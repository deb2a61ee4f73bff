//! The template is made once, whoever asks for it, and again when it is lost.

use narthex::provisioning::template;

use super::{new_tenant, run};
use crate::support::{TestApp, TestCluster, TestSettings, own_cluster};

#[tokio::test]
async fn eight_registrations_at_once_make_the_template_and_eight_databases() {
    let cluster = own_cluster().await;
    let patient: TestSettings = Box::new(|settings| {
        settings.provisioning.wait = std::time::Duration::from_secs(60);
        settings.http.request_timeout = std::time::Duration::from_secs(60);
    });
    let app = TestApp::start_on(TestCluster::of(&cluster), patient).await;
    let staff = futures_util::future::join_all((0..8).map(|_| app.register())).await;
    for staff in &staff {
        let identity = "SELECT tenant_id::text FROM tenant_identity";
        let identity = app.cluster.texts(&staff.database(), identity).await;
        assert_eq!(identity, [staff.tenant_id.to_string()]);
    }
    let count =
        |like: &str| format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{like}'");
    assert_eq!(app.cluster.count("postgres", &count("narthex_template_%")).await, 1);
    assert_eq!(app.cluster.count("postgres", &count("tenant_%")).await, 8);
}

#[tokio::test]
async fn the_template_is_made_once_and_again_when_it_is_lost() {
    let cluster = own_cluster().await;
    let app = TestApp::start_on(TestCluster::of(&cluster), Box::new(|_| {})).await;
    let name = template::name(app.registry.server());
    let templates = async || {
        let sql = "SELECT oid::text FROM pg_database WHERE datname LIKE 'narthex_template_%'";
        app.cluster.texts("postgres", sql).await
    };
    let server = app.registry.server();
    // What a process that was killed in the middle leaves behind.
    app.cluster.execute("postgres", &format!("CREATE DATABASE {name}_draft")).await;
    app.cluster.execute(&format!("{name}_draft"), "CREATE TABLE roles (half int)").await;

    let ensured = futures_util::future::join_all((0..4).map(|_| template::ensure(server))).await;
    assert!(ensured.iter().all(Result::is_ok), "{ensured:?}");
    let first = templates().await;
    assert_eq!(first.len(), 1);
    template::ensure(server).await.unwrap();
    assert_eq!(templates().await, first, "it was made anew for nothing");
    let open =
        format!("SELECT count(*) FROM pg_database WHERE datname = '{name}' AND datallowconn");
    assert_eq!(app.cluster.count("postgres", &open).await, 0);
    run(&app.provisioner, &new_tenant()).await.0.unwrap();

    app.cluster.execute("postgres", &format!("DROP DATABASE {name}")).await;
    run(&app.provisioner, &new_tenant()).await.0.unwrap();
    assert_ne!(templates().await, first);
}
