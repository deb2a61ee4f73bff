//! The way to the registry: verified where `registry.url` asks for it, and never one that could be talked down.

use rstest::rstest;

use super::{CliFixture, Said};
use crate::support::{Authority, TlsServer, shared_cluster, unique};

impl CliFixture {
    /// With another registry URL.
    fn at(url: String) -> Self {
        Self { url, ..Self::new() }
    }

    /// Runs `serve`, which gives up at once where the registry cannot be reached.
    async fn serve(&self) -> Said {
        let mut command = self.command(&["serve"]);
        command.env("NARTHEX_REGISTRY__START_TIMEOUT", "0s");
        Said::of(command.output().await.unwrap())
    }
}

/// `0.0.0.0` leads to this machine on Linux, and is no loopback address.
fn over_the_network(parameters: &str) -> CliFixture {
    let url = shared_cluster().bare_url(&format!("registry_{}", unique()));
    CliFixture::at(format!("{}{parameters}", url.replace("@127.0.0.1:", "@0.0.0.0:")))
}

#[rstest]
#[case::left_out("")]
#[case::preferred("?sslmode=prefer")]
#[case::allowed("?sslmode=allow")]
#[tokio::test]
async fn serve_refuses_a_way_that_can_be_talked_down(#[case] parameters: &str) {
    let said = over_the_network(parameters).serve().await;
    said.expect_error(1, &["registry.url", "0.0.0.0", "sslmode=verify-full", "sslmode=disable"]);
}

/// Past the check: the registry has not been made.
#[rstest]
#[case::plain("?sslmode=disable", &["plain text", "sslmode=verify-full", "narthex migrate registry"])]
#[case::to_anybody("?sslmode=require", &["whoever answers", "sslmode=verify-full", "does not support TLS"])]
#[case::to_any_host(
    "?sslmode=verify-ca",
    &["any known authority", "sslmode=verify-full", "does not support TLS"]
)]
#[tokio::test]
async fn serve_warns_of_a_way_that_somebody_has_chosen_to_leave_weak(
    #[case] parameters: &str,
    #[case] texts: &[&str],
) {
    over_the_network(parameters).serve().await.expect_error(1, texts);
}

#[tokio::test]
async fn serve_says_nothing_of_a_safe_way() {
    for place in [CliFixture::new(), over_the_network("?sslmode=verify-full")] {
        let said = place.serve().await;
        assert_eq!(said.code, Some(1));
        assert!(!said.err.contains("set sslmode"), "{said:?}");
    }
}

#[rstest]
#[case(&["serve"])]
#[case(&["migrate", "registry"])]
#[tokio::test]
async fn options_of_the_environment_reach_no_connection(#[case] arguments: &[&str]) {
    let place = CliFixture::new();
    let mut command = place.command(arguments);
    command.env("PGOPTIONS", "-c search_path=elsewhere");
    let said = Said::of(command.output().await.unwrap());
    said.expect_error(1, &["PGOPTIONS"]);
}

/// Migrations, administration, the serving pool and a tenant on the registry's server: the server takes no
/// connection without TLS.
#[tokio::test]
async fn every_connection_takes_the_verified_way_of_the_url() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = TlsServer::start(&authority.certify(&["localhost"])).await;
    server.insist_on_tls().await;
    let files = tempfile::tempdir().unwrap();
    let verified_by = |authority: &Authority, name: &str, host: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, &authority.pem).unwrap();
        let url = server.cluster.bare_url("narthex_registry").replace("127.0.0.1", host);
        CliFixture::at(format!("{url}?sslmode=verify-full&sslrootcert={}", path.display()))
    };
    let place = verified_by(&authority, "authority.pem", "localhost");
    for wrong in [
        verified_by(&other, "other.pem", "localhost"),
        verified_by(&authority, "authority.pem", "127.0.0.1"),
    ] {
        let said = wrong.run(&["migrate", "registry"]).await;
        said.expect_error(1, &["no safe connection", "invalid peer certificate"]);
    }
    place.run(&["migrate", "registry"]).await.expect(0);
    let create = [
        "tenants",
        "create",
        "--organization",
        "Grace",
        "--email",
        "grace@example.org",
        "--first-name",
        "G",
        "--last-name",
        "H",
    ];
    place.run_with(&create, "a long passphrase\n").await.expect(0);
    let tenants = place.run(&["tenants", "list"]).await.expect(0);
    assert!(tenants.contains("grace"), "{tenants}");
}
