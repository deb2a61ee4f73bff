use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use rstest::rstest;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;

use super::serving::Serving;
use super::{CliFixture, Said, narthex};
use crate::support::eventually;

#[rstest]
#[case::no_such_command(&["conquer"])]
#[case::no_such_option(&["serve", "--fast"])]
#[case::half_a_command(&["tenants"])]
#[case::a_missing_argument(&["tenants", "show"])]
#[case::no_email(&["tenants", "create", "--organization", "X", "--email", "x", "--first-name", "A", "--last-name", "B"])]
#[case::no_number(&["tenants", "assign-number", "x", "1234"])]
#[case::no_address(&["dev", "--listen", "nowhere"])]
#[tokio::test]
async fn wrong_usage_ends_with_2(#[case] arguments: &[&str]) {
    let said = Said::of(narthex(arguments).output().await.unwrap());
    said.expect_error(2, &["--help"]);
}

#[rstest]
#[case("--help")]
#[case("--version")]
#[tokio::test]
async fn asking_for_help_is_no_fault(#[case] argument: &str) {
    let said = Said::of(narthex(&[argument]).output().await.unwrap());
    assert!(said.expect(0).contains("narthex"));
}

#[rstest]
#[case::no_registry("NARTHEX_REGISTRY__URL", None, &["registry.url is not set", "NARTHEX_REGISTRY__URL"])]
#[case::no_key("NARTHEX_SECRETS__MASTER_KEY", None, &["secrets.master_key is not set", "NARTHEX_SECRETS__MASTER_KEY"])]
#[case::no_url("NARTHEX_REGISTRY__URL", Some("nonsense"), &["registry.url is not usable"])]
#[case::a_short_key("NARTHEX_SECRETS__MASTER_KEY", Some("c2hvcnQ="), &["secrets.master_key"])]
#[case::letters_into_the_log("NARTHEX_SMTP__URL", Some("log:"), &["smtp.url is `log:`", "set a mail server"])]
#[case::letters_of_nobody("NARTHEX_SMTP__URL", Some("smtps://u:verysecret@mail.example.org"), &["smtp.from is not set"])]
#[case::a_bad_provider_key("NARTHEX_TELNYX__PUBLIC_KEY", Some("AAAA"), &["telnyx.public_key"])]
#[case::nobody_there(
    "NARTHEX_REGISTRY__URL", Some("postgres://u:verysecret@127.0.0.1:1/r"), &["the registry is not available"]
)]
#[tokio::test]
async fn serve_without_what_it_needs_says_what_to_do(
    #[case] name: &str,
    #[case] value: Option<&str>,
    #[case] texts: &[&str],
) {
    let place = CliFixture::new();
    let mut command = place.command(&["serve"]);
    command.env("NARTHEX_REGISTRY__START_TIMEOUT", "0s");
    match value {
        Some(value) => command.env(name, value),
        None => command.env_remove(name),
    };
    let said = Said::of(command.output().await.unwrap());
    said.expect_error(1, texts);
    said.never_says(&["verysecret"]);
    said.never_says(&place.secrets());
}

/// Both are started together, and nobody says in which order.
#[tokio::test]
async fn serve_waits_for_a_registry_that_is_not_there_yet() {
    let place = CliFixture::migrated().await;
    let (_, rest) = place.url.split_once('@').unwrap();
    let port: u16 = rest.split(['/', ':']).nth(1).unwrap().parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let not_yet = listener.local_addr().unwrap();
    drop(listener);
    let url = place.url.replace(&format!(":{port}/"), &format!(":{}/", not_yet.port()));
    assert_ne!(url, place.url);
    let mut process = place
        .command(&["serve"])
        .env("NARTHEX_REGISTRY__URL", url)
        .env("NARTHEX_HTTP__LISTEN", "127.0.0.1:0")
        .env("NARTHEX_HTTP__OPERATIONS_LISTEN", "127.0.0.1:0")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut says = async |text: &str| {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(text) {
                return;
            }
        }
        panic!("it never said `{text}`");
    };
    says("waiting for the registry").await;
    let listener = TcpListener::bind(not_yet).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    says("serving").await;
}

#[tokio::test]
async fn serve_refuses_a_registry_that_is_behind() {
    let place = CliFixture::new();
    place.run(&["serve"]).await.expect_error(1, &["behind", "`narthex migrate registry`"]);
    place.cluster.execute("postgres", &format!("CREATE DATABASE {}", place.database)).await;
    place.run(&["serve"]).await.expect_error(1, &["behind", "`narthex migrate registry`"]);
}

#[tokio::test]
async fn all_faults_of_the_configuration_are_told_at_once_and_no_secret_with_them() {
    let place = CliFixture::new();
    let said = place
        .command(&["serve"])
        .env("NARTHEX_HTTP__LISTEN", "nowhere")
        .env("NARTHEX_ROUTER__MAX_CONNECTIONS_PER_TENANT", "51")
        .env("NARTHEX_SECRETS__MASTER_KEY", "bad:verysecret")
        .env("NARTHEX_SECRETS__OLD_KEYS", "verysecret")
        .env("NARTHEX_HTPP__LISTEN", "127.0.0.1:1")
        .env("NARTHEX_AUTH__ACCESS_TOKEN_TTL", "soon")
        .output()
        .await
        .unwrap();
    let said = Said::of(said);
    let faults = [
        "6 fault(s)",
        "http.listen:",
        "router.max_connections_per_tenant:",
        "secrets.master_key:",
        "secrets.old_keys:",
        "htpp:",
        "auth.access_token_ttl:",
    ];
    said.expect_error(1, &faults);
    said.never_says(&["verysecret"]);
}

/// Somebody forgot the second half of the name.
#[rstest]
#[case("NARTHEX_REGISTRY", "registry: is a section")]
#[case("NARTHEX_SECRETS", "secrets: is a section")]
#[tokio::test]
async fn a_secret_under_the_wrong_name_is_not_told(#[case] name: &str, #[case] fault: &str) {
    let said = narthex(&["serve"]).env(name, "postgres://u:verysecret@h/d").output().await.unwrap();
    let said = Said::of(said);
    said.expect_error(1, &[fault]);
    said.never_says(&["verysecret"]);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let said = Said::of(narthex(&["serve", "--config", "/no/such.toml"]).output().await.unwrap());
    said.expect_error(1, &["/no/such.toml"]);
}

/// Other programs put what they like into the environment.
#[tokio::test]
async fn a_foreign_variable_that_is_not_utf8_does_no_harm() {
    let mut command = narthex(&["serve"]);
    command.env("LATIN", std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let said = Said::of(command.output().await.unwrap());
    said.expect_error(1, &["registry.url is not set"]);
}

const DRAIN_DELAY: &str = "NARTHEX_HTTP__DRAIN_DELAY";

/// On a connection of its own.
async fn get(address: &str, path: &str) -> reqwest::Result<reqwest::Response> {
    let client = narthex::outbound::builder().no_proxy().build().unwrap();
    client.get(format!("http://{address}{path}")).send().await
}

#[rstest]
#[case(Signal::SIGTERM)]
#[case(Signal::SIGINT)]
#[tokio::test]
async fn serve_answers_and_ends_in_order(#[case] signal: Signal) {
    let place = CliFixture::migrated().await;
    let serving = Serving::start(&place, &[(DRAIN_DELAY, "0s")]).await;
    for address in [&serving.address, &serving.operations] {
        assert_eq!(get(address, "/healthz").await.unwrap().status(), 200);
    }
    serving.send(signal);
    let (code, log) = serving.ended().await;
    assert_eq!(code, Some(0), "{log}");
    for secret in place.secrets() {
        assert!(!log.contains(secret));
    }
}

/// With the default settings.
#[tokio::test]
async fn serve_tells_load_balancers_before_it_ends() {
    let place = CliFixture::migrated().await;
    let serving = Serving::start(&place, &[]).await;
    let status = async || get(&serving.address, "/readyz").await.unwrap().status();
    eventually("it is ready", async || status().await == 200).await;
    serving.send(Signal::SIGTERM);
    eventually("it is draining, and says so", async || status().await == 503).await;
    assert_eq!(get(&serving.address, "/healthz").await.unwrap().status(), 200);
    let (address, operations) = (serving.address.clone(), serving.operations.clone());
    let (code, log) = serving.ended().await;
    assert_eq!(code, Some(0), "{log}");
    for address in [address, operations] {
        assert!(get(&address, "/healthz").await.is_err());
    }
}

#[rstest]
#[case(Signal::SIGTERM, Signal::SIGTERM)]
#[case(Signal::SIGTERM, Signal::SIGINT)]
#[tokio::test]
async fn a_second_signal_ends_serve_at_once(#[case] first: Signal, #[case] second: Signal) {
    let place = CliFixture::migrated().await;
    let mut serving = Serving::start(&place, &[(DRAIN_DELAY, "10m")]).await;
    serving.send(first);
    serving.says("a second signal stops at once").await;
    assert_eq!(get(&serving.address, "/readyz").await.unwrap().status(), 503);
    serving.send(second);
    let ended = tokio::time::timeout(Duration::from_secs(30), serving.ended()).await;
    let (code, log) = ended.expect("it went on draining");
    assert_eq!(code, Some(1), "{log}");
}

#[tokio::test]
async fn serve_ends_when_it_cannot_listen_for_operations() {
    let place = CliFixture::migrated().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = place.command(&["serve"]);
    command.env("NARTHEX_HTTP__LISTEN", "127.0.0.1:0");
    command.env("NARTHEX_HTTP__OPERATIONS_LISTEN", &address);
    let said = Said::of(command.output().await.unwrap());
    said.expect_error(1, &["cannot listen on", &address, "http.operations_listen", "in use"]);
}
