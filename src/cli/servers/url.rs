//! The URL of a server to be registered. Only the URL counts, and not the environment (PGHOST,
//! PGSSLMODE, ...): the replicas that will connect run elsewhere.

use secrecy::{ExposeSecret, SecretString};

use crate::postgres::transport::is_this_machine;
use crate::registry::tenants::database_servers::TlsMode;

/// PostgreSQL's default port, for a URL without a port.
const DEFAULT_PORT: u16 = 5432;

/// Why a URL is refused. No text repeats the URL, because it contains a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("the URL must be postgres://user:password@host:port?sslmode=...; its {0}")]
    Form(&'static str),
    #[error("the URL may have no parameter `{0}`; `sslmode` is the only one")]
    Parameter(String),
    #[error("the URL may have no sslrootcert; name the file with --tls-authority")]
    RootCertificate,
    #[error(
        "the URL leads over the network to `{0}` without a safe sslmode, so that anybody on the way could read along: \
         add `?sslmode=verify-full` (and --tls-authority FILE for a private authority), or `?sslmode=disable` if that \
         network is yours alone"
    )]
    TalkedDown(String),
    #[error("`{0}` is not one of the sslmodes disable, require, verify-ca and verify-full")]
    Mode(String),
}

/// The parts of a URL.
#[derive(Debug)]
pub(super) struct ServerUrl {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: SecretString,
    pub tls_mode: TlsMode,
}

impl ServerUrl {
    pub(super) fn parse(text: &SecretString) -> Result<Self, UrlError> {
        let url = reqwest::Url::parse(text.expose_secret().trim())
            .map_err(|_| UrlError::Form("text is no URL"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(UrlError::Form("beginning is another one"));
        }
        let part = |text: &str, missing| {
            decoded(text).filter(|text| !text.is_empty()).ok_or(UrlError::Form(missing))
        };
        let host = part(url.host_str().unwrap_or_default(), "host is missing")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut mode = None;
        for (name, value) in url.query_pairs() {
            match &*name {
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" => return Err(UrlError::RootCertificate),
                _ => return Err(UrlError::Parameter(name.into_owned())),
            }
        }
        Ok(Self {
            port: url.port().unwrap_or(DEFAULT_PORT),
            user: part(url.username(), "user is missing")?,
            password: SecretString::from(part(
                url.password().unwrap_or_default(),
                "password is missing",
            )?),
            tls_mode: tls_mode(mode.as_deref(), &host)?,
            host,
        })
    }
}

fn tls_mode(text: Option<&str>, host: &str) -> Result<TlsMode, UrlError> {
    match text {
        Some("disable") => Ok(TlsMode::Disable),
        Some("require") => Ok(TlsMode::Require),
        Some("verify-ca") => Ok(TlsMode::VerifyCa),
        Some("verify-full") => Ok(TlsMode::VerifyFull),
        // A connection on this machine needs no encryption.
        None | Some("prefer" | "allow") if is_this_machine(host) => Ok(TlsMode::Disable),
        None | Some("prefer" | "allow") => Err(UrlError::TalkedDown(host.to_owned())),
        Some(other) => Err(UrlError::Mode(other.to_owned())),
    }
}

/// The text with its `%` escapes decoded. `None` for a malformed escape, or if the result is not
/// UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(2)?;
        bytes.extend(hex::decode(escaped).ok()?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn parse(text: &str) -> Result<ServerUrl, UrlError> {
        ServerUrl::parse(&SecretString::from(text))
    }

    #[rstest]
    #[case("postgres://u:p@db/x?sslmode=disable", "db", 5432, TlsMode::Disable)]
    #[case("postgresql://u:p@db:5433?sslmode=require", "db", 5433, TlsMode::Require)]
    #[case(
        " postgres://u:p@db.example.org?sslmode=verify-full\n",
        "db.example.org",
        5432,
        TlsMode::VerifyFull
    )]
    #[case("postgres://u:p@[2001:db8::1]:1?sslmode=verify-ca", "2001:db8::1", 1, TlsMode::VerifyCa)]
    #[case("postgres://u:p@127.0.0.1", "127.0.0.1", 5432, TlsMode::Disable)]
    #[case("postgres://u:p@localhost?sslmode=prefer", "localhost", 5432, TlsMode::Disable)]
    fn a_url_says_where_and_how(
        #[case] text: &str,
        #[case] host: &str,
        #[case] port: u16,
        #[case] mode: TlsMode,
    ) {
        let url = parse(text).unwrap();
        assert_eq!((&*url.host, url.port, url.tls_mode), (host, port, mode));
        assert_eq!((&*url.user, url.password.expose_secret()), ("u", "p"));
    }

    #[test]
    fn what_is_escaped_in_a_url_is_meant_as_it_was_before() {
        let url = parse("postgres://a%40b:p%2Fq%25%C3%A9+@localhost").unwrap();
        assert_eq!((&*url.user, url.password.expose_secret()), ("a@b", "p/q%é+"));
    }

    #[rstest]
    #[case("", "no URL")]
    #[case("db.example.org", "no URL")]
    #[case("mysql://u:secret@db", "beginning")]
    #[case("postgres://u:secret@", "no URL")]
    #[case("postgres:///x?sslmode=disable", "host is missing")]
    #[case("postgres://:secret@db?sslmode=disable", "user is missing")]
    #[case("postgres://u@db?sslmode=disable", "password is missing")]
    #[case("postgres://u:secret%F0%@db?sslmode=disable", "password is missing")]
    #[case("postgres://u:secret@db", "add `?sslmode=verify-full`")]
    #[case("postgres://u:secret@db?sslmode=prefer", "add `?sslmode=verify-full`")]
    #[case("postgres://u:secret@db?sslmode=allow", "add `?sslmode=verify-full`")]
    #[case("postgres://u:secret@db?sslmode=full", "`full` is not one")]
    #[case("postgres://u:secret@db?sslrootcert=/x", "--tls-authority")]
    #[case("postgres://u:secret@db?options=-csearch_path=x", "`options`")]
    fn a_url_that_leads_nowhere_is_refused_and_not_repeated(
        #[case] text: &str,
        #[case] reason: &str,
    ) {
        let said = parse(text).unwrap_err().to_string();
        assert!(said.contains(reason) && !said.contains("secret"), "{said}");
    }
}
