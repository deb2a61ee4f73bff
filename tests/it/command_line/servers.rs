//! Several database servers, by the command line.

use serde_json::{Value, json};

use super::{CliFixture, Said};
use crate::support::{Authority, TestCluster, TlsServer, own_cluster, unique};

const PASSWORD: &str = "a-password/for-administration";

/// A role that logs in with [`PASSWORD`], and its URL.
async fn user(cluster: &TestCluster, name: &str, rights: &str) -> String {
    let sql = format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {rights}");
    cluster.execute("postgres", &sql).await;
    let options = cluster.options("postgres");
    let (host, port) = (options.get_host(), options.get_port());
    format!("postgres://{name}:{}@{host}:{port}", PASSWORD.replace('/', "%2F"))
}

async fn add(place: &CliFixture, name: &str, url: &str, more: &[&str]) -> Said {
    let mut arguments = vec!["servers", "add", "--name", name];
    arguments.extend(more);
    let said = place.run_with(&arguments, &format!("{url}\n")).await;
    said.never_says(&[PASSWORD, &PASSWORD.replace('/', "%2F")]);
    said
}

async fn list(place: &CliFixture) -> Vec<Value> {
    let listed = place.run(&["servers", "list", "--json"]).await.expect(0);
    serde_json::from_str(&listed).unwrap()
}

async fn states(place: &CliFixture) -> Vec<(String, String, i64)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let state = |row: &Value| {
        (text(&row["name"]), text(&row["state"]), row["max_tenants"].as_i64().unwrap())
    };
    list(place).await.iter().map(state).collect()
}

#[tokio::test]
async fn a_server_is_added_listed_drained_and_activated() {
    let (place, second) = (CliFixture::migrated().await, own_cluster().await);
    let cluster = TestCluster::of(&second);
    let url = user(&cluster, "gateway", "SUPERUSER").await;
    let said = add(&place, "second", &url, &["--max-tenants", "7"]).await;
    assert_eq!(said.err, "");
    assert!(said.expect(0).contains("for up to 7 tenants"));

    let rows = list(&place).await;
    assert_eq!((&rows[0]["name"], &rows[0]["host"]), (&json!("registry"), &Value::Null));
    assert_eq!((&rows[0]["max_tenants"], &rows[0]["tenants"]), (&json!(5000), &json!(0)));
    let mut added = rows[1].clone();
    for varying in ["id", "created_at"] {
        added.as_object_mut().unwrap().remove(varying).unwrap();
    }
    let expected = json!({
        "name": "second", "state": "active", "host": "127.0.0.1", "port": second.port(), "tls_mode": "disable",
        "administration_user": "gateway", "can_be_administered": true, "tenants": 0, "max_tenants": 7,
    });
    assert_eq!(added, expected);
    let table = place.run(&["servers", "list"]).await.expect(0);
    for text in ["second", "127.0.0.1", &second.port().to_string(), "2 server(s)"] {
        assert!(table.contains(text), "{text} is missing in\n{table}");
    }

    // What was promised is done there, and the password is nobody's to read.
    let templates = "SELECT count(*) FROM pg_database WHERE datname LIKE 'narthex_template_%' AND NOT datallowconn";
    assert_eq!(cluster.count("postgres", templates).await, 1);
    let open = "SELECT count(*) FROM pg_database
        WHERE datname IN ('postgres', 'template1') AND has_database_privilege('narthex_tenant', oid, 'CONNECT')";
    assert_eq!(cluster.count("postgres", open).await, 0);
    assert!(place.cluster.holds(&place.database, "gateway").await);
    assert!(!place.cluster.holds(&place.database, PASSWORD).await);

    for (arguments, said, state, limit) in [
        (&["servers", "drain", "second"][..], "second is draining\n", "draining", 7),
        (&["servers", "full", "second"], "second is full\n", "full", 7),
        (&["servers", "activate", "second"], "second is active\n", "active", 7),
        (
            &["servers", "activate", "second", "--max-tenants", "9"],
            "second is active\n",
            "active",
            9,
        ),
    ] {
        assert_eq!(place.run(arguments).await.expect(0), said);
        assert_eq!(states(&place).await[1], ("second".to_owned(), state.to_owned(), limit));
    }
    place.run(&["servers", "drain", "registry"]).await.expect(0);
    assert_eq!(states(&place).await[0].1, "draining");
    let unknown = place.run(&["servers", "drain", "third"]).await;
    unknown.expect_error(1, &["`third`", "servers list"]);
}

#[tokio::test]
async fn what_stands_against_a_server_is_said_and_nothing_is_written() {
    let (place, second) = (CliFixture::migrated().await, own_cluster().await);
    let cluster = TestCluster::of(&second);
    let url = user(&cluster, "gateway", "").await;
    let network = url.replace("127.0.0.1", "0.0.0.0");
    let own = place.cluster.url("postgres");
    let no_file = format!("/no/such/file/{}", unique());
    let not_pem = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(not_pem.path(), "no certificate").unwrap();
    let not_pem = not_pem.path().to_str().unwrap();
    let (closed, wrong) = (
        url.replace(&format!(":{}", second.port()), ":1"),
        url.replace("gateway:a-", "gateway:b-"),
    );
    for (name, url, more, texts) in [
        (
            "second",
            &*closed,
            &[][..],
            &["`second`", "127.0.0.1:1", "cannot be reached", "check the URL"][..],
        ),
        ("second", &wrong, &[], &["refused the login"]),
        ("second", &url, &[], &["ALTER ROLE \"gateway\" CREATEDB CREATEROLE"]),
        ("registry", &url, &[], &["`registry` already"]),
        ("second", &own, &[], &["the server `registry`, which is registered already"]),
        ("second", &network, &[], &["`0.0.0.0`", "sslmode=verify-full", "sslmode=disable"]),
        (
            "second",
            &format!("{network}?sslmode=verify-full"),
            &[],
            &["does not support TLS", "check the URL"],
        ),
        (
            "second",
            &format!("{network}?sslmode=require"),
            &[],
            &["whoever answers", "does not support TLS"],
        ),
        ("second", &url, &["--tls-authority", &no_file], &[&no_file]),
        ("second", &url, &["--tls-authority", not_pem], &["tls_authority is not a certificate"]),
        ("second", "", &["--url-file", &no_file], &[&no_file]),
        ("second", "", &[], &["postgres://user:password@host:port"]),
        (" ", &url, &[], &["1 to 63 characters"]),
    ] {
        add(&place, name, url, more).await.expect_error(1, texts);
        assert_eq!(list(&place).await.len(), 1, "{url}");
    }
    let made = "SELECT count(*) FROM pg_database WHERE datname LIKE 'narthex_%'";
    assert_eq!(cluster.count("postgres", made).await, 0);

    // What the refusal says is what it takes; the rest is only advised.
    cluster.execute("postgres", "ALTER ROLE \"gateway\" CREATEDB CREATEROLE").await;
    let said = add(&place, "second", &url, &[]).await;
    said.expect_error(0, &["REVOKE CONNECT ON DATABASE template1", "GRANT pg_signal_backend"]);
    // The same cluster under another address.
    let again = format!("{network}?sslmode=disable");
    let said = add(&place, "third", &again, &[]).await;
    said.expect_error(1, &["plain text", "the server `second`, which is registered already"]);
    add(&place, "second", &again, &[]).await.expect_error(1, &["`second` already"]);
    assert_eq!(list(&place).await.len(), 2);
}

#[tokio::test]
async fn a_server_that_was_written_down_by_hand_gets_its_credentials() {
    let (place, second) = (CliFixture::migrated().await, own_cluster().await);
    let cluster = TestCluster::of(&second);
    let url = user(&cluster, "gateway", "SUPERUSER").await;
    let id = uuid::Uuid::now_v7();
    let known = format!(
        "INSERT INTO database_servers (id, name, host, port, tls_mode, state)
         VALUES ('{id}', 'old', '127.0.0.1', {}, 'disable', 'full')",
        second.port()
    );
    place.cluster.execute(&place.database, &known).await;
    let refused = place.run(&["servers", "activate", "old"]).await;
    refused.expect_error(1, &["no credentials", "narthex servers add --name old"]);
    let elsewhere = url.replace("127.0.0.1", "localhost");
    add(&place, "old", &elsewhere, &[]).await.expect_error(1, &["`old` already"]);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{url}\n")).unwrap();
    let file = file.path().to_str().unwrap();
    add(&place, "old", "", &["--url-file", file, "--max-tenants", "9"]).await.expect(0);
    let rows = list(&place).await;
    assert_eq!((rows.len(), &rows[1]["id"]), (2, &json!(id)));
    assert_eq!(states(&place).await[1], ("old".to_owned(), "active".to_owned(), 9));
}

#[tokio::test]
async fn a_server_is_administered_over_tls_as_its_url_says() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = TlsServer::start(&authority.certify(&["localhost"])).await;
    server.insist_on_tls().await;
    let place = CliFixture::migrated().await;
    let files = tempfile::tempdir().unwrap();
    let file = |authority: &Authority, name: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, &authority.pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ours, theirs) = (file(&authority, "ours.pem"), file(&other, "theirs.pem"));
    let url = server.cluster.bare_url("postgres").replace("127.0.0.1", "localhost");
    let url = format!("{url}?sslmode=verify-full");
    let refused = add(&place, "tls", &url, &["--tls-authority", &theirs]).await;
    refused.expect_error(1, &["no safe connection", "invalid peer certificate"]);
    add(&place, "tls", &url, &["--tls-authority", &ours]).await.expect(0);
    assert_eq!(list(&place).await[1]["tls_mode"], "verify-full");
}
