//! The rights that the gateway needs on a server, and no more.

use narthex::registry::schema;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;

use crate::support::{TestApp, TestCluster, own_cluster};

#[tokio::test]
async fn a_registry_user_without_superuser_rights_suffices() {
    let server = own_cluster().await;
    let cluster = TestCluster::of(&server);
    cluster
        .execute("postgres", "CREATE ROLE gateway LOGIN PASSWORD 'gateway' CREATEDB CREATEROLE")
        .await;
    let url = format!("postgres://gateway:gateway@{}:{}/registry", server.host(), server.port());
    schema::migrate(url.parse().unwrap()).await.unwrap();
    let app = TestApp::open_registry(
        cluster.clone(),
        "registry".to_owned(),
        Box::new(move |settings| settings.registry.url = Some(SecretString::from(url))),
    )
    .await;

    let staff = app.register().await;
    staff.add_member("Ada", "+13125550101").await;
    let taken = json!({
        "organization_name": "Another", "email": staff.email, "password": "long enough password",
        "first_name": "A", "last_name": "B",
    });
    app.call(Method::POST, "/v1/auth/register", Some(taken))
        .await
        .expect_problem(409, "email_taken");
    let names =
        cluster.texts("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'tenant_%'");
    assert_eq!(names.await, [staff.database()], "the refused registration has left nothing");
    drop(app);
    server.stop().await.unwrap();
}
