use rstest::rstest;

use super::*;
use crate::registry::tenants::database_servers::State;

fn row(host: &str) -> DatabaseServer {
    DatabaseServer {
        id: ServerId(uuid::Uuid::nil()),
        name: "db7".to_owned(),
        host: Some(host.to_owned()),
        port: Some(5433),
        tls_mode: Some(TlsMode::VerifyFull),
        tls_authority: None,
        state: State::Active,
        administration_user: Some("narthex".to_owned()),
        sealed_administration_password: Some(Vec::new()),
        max_tenants: 10,
        system_identifier: Some(7),
        created_at: chrono::DateTime::UNIX_EPOCH,
    }
}

fn authority() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
}

/// The options that PGHOST, PGPORT, PGSSLMODE, PGSSLROOTCERT and PGDATABASE would have set.
fn hostile() -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("evil.example")
        .port(1)
        .ssl_mode(PgSslMode::Disable)
        .ssl_root_cert("/evil.pem")
        .database("evil")
}

#[rstest]
#[case(TlsMode::Disable, "disable")]
#[case(TlsMode::Require, "require")]
#[case(TlsMode::VerifyCa, "verify-ca")]
#[case(TlsMode::VerifyFull, "verify-full")]
fn the_row_decides_and_the_environment_does_not(#[case] mode: TlsMode, #[case] expected: &str) {
    let pem = authority();
    let server =
        DatabaseServer { tls_mode: Some(mode), tls_authority: Some(pem.clone()), ..row("db7") };
    let options = remote(hostile(), &server, "db7.example.org").unwrap();
    let url = options.to_url_lossy();
    assert_eq!((url.host_str(), url.port()), (Some("db7.example.org"), Some(5433)));
    let stated = |name| url.query_pairs().find(|(key, _)| key == name).map(|(_, v)| v.into_owned());
    assert_eq!(stated("sslmode").as_deref(), Some(expected));
    assert_eq!(stated("sslrootcert"), Some(pem));
}

#[test]
fn an_authority_of_the_environment_counts_for_nothing() {
    let options = remote(hostile(), &row("db7"), "db7").unwrap();
    assert!(!options.to_url_lossy().to_string().contains("evil.pem"));
}

#[test]
fn options_of_the_environment_are_refused() {
    let base = hostile().options([("search_path", "evil")]);
    assert_eq!(remote(base, &row("db7"), "db7").unwrap_err(), AddressError::ForeignOptions);
}

#[rstest]
#[case::empty("")]
#[case::a_socket("/run/postgresql")]
#[case::with_a_port("db7:5432")]
#[case::in_brackets("[::1]")]
#[case::with_a_space("db 7")]
fn a_host_that_is_none_is_refused(#[case] host: &str) {
    assert_eq!(
        remote(hostile(), &row(host), host).unwrap_err(),
        AddressError::Host(host.to_owned())
    );
}

#[rstest]
#[case(None)]
#[case(Some(0))]
#[case(Some(-5432))]
#[case(Some(65_536))]
fn a_port_that_is_none_is_refused(#[case] port: Option<i32>) {
    let server = DatabaseServer { port, ..row("db7") };
    assert_eq!(remote(hostile(), &server, "db7").unwrap_err(), AddressError::Port(port));
}

#[test]
fn a_row_without_a_mode_is_refused() {
    let server = DatabaseServer { tls_mode: None, ..row("db7") };
    assert_eq!(remote(hostile(), &server, "db7").unwrap_err(), AddressError::NoTlsMode);
}

#[test]
fn public_authorities_alone_do_not_verify_an_unnamed_host() {
    let server = DatabaseServer { tls_mode: Some(TlsMode::VerifyCa), ..row("db7") };
    assert_eq!(remote(hostile(), &server, "db7").unwrap_err(), AddressError::NoAuthority);
    assert!(remote(hostile(), &row("db7"), "db7").is_ok());
}

#[rstest]
#[case::empty("")]
#[case::words("not a certificate")]
#[case::a_path("/etc/ssl/authority.pem")]
#[case::cut_off("-----BEGIN CERTIFICATE-----\nMIIB")]
#[case::not_base64("-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n")]
#[case::not_a_certificate("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
fn an_authority_that_is_none_is_refused_in_every_mode(
    #[case] pem: &str,
    #[values(TlsMode::Disable, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull)]
    mode: TlsMode,
) {
    let pem = Some(pem.to_owned());
    let server = DatabaseServer { tls_mode: Some(mode), tls_authority: pem, ..row("db7") };
    let refused = remote(hostile(), &server, "db7");
    assert!(matches!(refused, Err(AddressError::Authority(_))), "{refused:?}");
}
