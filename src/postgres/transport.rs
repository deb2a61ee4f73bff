//! How well the path to a server is protected against an attacker on the network.

use std::net::IpAddr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The protection of a connection against an attacker on its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The connection does not leave this machine.
    Local,
    /// Encrypted, and the server has proven to be the requested host.
    Verified,
    /// Encrypted, to a server with a certificate of a known authority, for any host name.
    AnyHost,
    /// Encrypted, to any server.
    AnyServer,
    /// Plain text, as the settings say.
    Plain,
    /// Plain text if the peer says so (`prefer`), or always although the settings do not say so
    /// (`allow`).
    TalkedDown,
}

impl Transport {
    /// The protection of connections with these options.
    pub fn of(options: &PgConnectOptions) -> Self {
        if options.get_socket().is_some() || is_this_machine(options.get_host()) {
            return Self::Local;
        }
        match options.get_ssl_mode() {
            PgSslMode::VerifyFull => Self::Verified,
            PgSslMode::VerifyCa => Self::AnyHost,
            PgSslMode::Require => Self::AnyServer,
            PgSslMode::Disable => Self::Plain,
            PgSslMode::Prefer | PgSslMode::Allow => Self::TalkedDown,
        }
    }

    /// The weakness of this transport on a network. `None` if it is safe.
    pub fn weakness(self) -> Option<&'static str> {
        match self {
            Self::Local | Self::Verified => None,
            Self::Plain => Some("it is plain text: everybody on the way can read it and change it"),
            Self::AnyServer => {
                Some("it is encrypted to whoever answers: nobody has to prove to be the server")
            }
            Self::AnyHost => Some(
                "whoever has a certificate of any known authority, public ones included, passes for the server",
            ),
            Self::TalkedDown => Some("somebody on the way could make it plain text"),
        }
    }
}

/// True for a loopback address, `localhost`, and the directory of a Unix socket.
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("postgres://u@127.0.0.1/d", Transport::Local)]
    #[case("postgres://u@127.8.0.9/d?sslmode=disable", Transport::Local)]
    #[case("postgres://u@[::1]/d", Transport::Local)]
    #[case("postgres://u@LocalHost/d", Transport::Local)]
    #[case("postgres:///d?host=/run/postgresql&user=u", Transport::Local)]
    #[case("postgres://%2Frun%2Fpostgresql/d", Transport::Local)]
    #[case("postgres://u@db.example.org/d?sslmode=prefer", Transport::TalkedDown)]
    #[case("postgres://u@db.example.org/d?sslmode=allow", Transport::TalkedDown)]
    #[case("postgres://u@db.example.org/d?sslmode=disable", Transport::Plain)]
    #[case("postgres://u@db.example.org/d?sslmode=require", Transport::AnyServer)]
    #[case("postgres://u@db.example.org/d?sslmode=verify-ca", Transport::AnyHost)]
    #[case("postgres://u@db.example.org/d?sslmode=verify-full", Transport::Verified)]
    #[case("postgres://u@localhost.example.org/d?sslmode=disable", Transport::Plain)]
    #[case("postgres://u@10.0.0.1/d?sslmode=disable", Transport::Plain)]
    #[case("postgres://u@0.0.0.0/d?sslmode=disable", Transport::Plain)]
    fn a_url_says_how_well_it_is_guarded(#[case] url: &str, #[case] expected: Transport) {
        assert_eq!(Transport::of(&url.parse().unwrap()), expected);
    }
}
