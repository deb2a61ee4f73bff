//! All settings, with their units and defaults.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::Error as _;

use super::provisioning::ProvisioningSettings;
use super::public_url::PublicUrl;
use crate::identifiers::DomainName;
use crate::limits::Rate;

/// All settings, by section.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The public listener and the operations listener.
    pub http: HttpSettings,
    /// Connections to the control database.
    pub registry: RegistrySettings,
    /// Connections to tenants' databases and look-ups of tenants.
    pub router: RouterSettings,
    /// Keys that seal secrets at rest.
    pub secrets: SecretsSettings,
    /// Tokens and password hashing.
    pub auth: AuthSettings,
    /// Creation and removal of tenants.
    pub provisioning: ProvisioningSettings,
    /// Webhooks of the SMS provider.
    pub telnyx: TelnyxSettings,
    /// Webhooks and session tokens of the identity provider.
    pub clerk: ClerkSettings,
    /// Rate limits.
    pub limits: LimitsSettings,
    /// Outgoing email.
    pub smtp: SmtpSettings,
    /// Log level and format.
    pub log: LogSettings,
}

/// Deliveries of Clerk that one replica works on at once.
pub const CLERK_DELIVERIES_AT_ONCE: u32 = 3;

impl Settings {
    /// Minimum number of connections to the registry; with fewer, a replica can deadlock. Each
    /// delivery of Clerk holds one connection while it reconciles an organization, and needs a
    /// second one at the same time. One more is for requests and leases.
    pub fn least_registry_connections(&self) -> u32 {
        let held = if self.clerk.webhook_secret.is_some() { CLERK_DELIVERIES_AT_ONCE } else { 0 };
        held + 2
    }
}

/// `http`: the public listener and the operations listener. They serve HTTP/1 and h2c; TLS of
/// clients ends at the proxy in front.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address and port of the listener for metrics and the health of single tenants; port 0 takes
    /// a free one. It has no authentication, so clients must not be able to reach it.
    pub operations_listen: SocketAddr,
    /// A request that takes longer is answered 503 `busy` and its work is cancelled.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// A client is disconnected if it has not sent a complete request head within this time, after
    /// it connected or began the head.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// A connection on which no request has begun or ended for this long is closed.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// A client that has read nothing of its response for this long is disconnected.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// A body of which nothing has arrived for this long is answered 408 `body_timeout`. After this
    /// time, so is a body that arrives more slowly than 8 KiB a second.
    #[serde(with = "humantime_serde")]
    pub body_silence: Duration,
    /// A body that has not arrived completely within this time is answered 408 `body_timeout`.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Largest request body, in bytes; a longer one gets 413.
    pub max_body: usize,
    /// Connections that each listener serves at once; further ones wait in its backlog.
    pub max_connections: usize,
    /// Of these, connections from one network (an IPv4 address, a /64 of IPv6); further ones are
    /// closed. Connections of trusted proxies are not counted.
    pub max_connections_per_network: usize,
    /// An SMS event that is not stored after this time is parked instead of written to its tenant
    /// (the provider waits 2 s).
    #[serde(with = "humantime_serde")]
    pub webhook_deadline: Duration,
    /// Time after SIGTERM in which readiness fails but requests are still accepted, so that load
    /// balancers notice before a client is refused. `0s` closes the listeners at once.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// Time for requests in flight to finish after the listeners have closed.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// The domain below which every tenant has a host, `<slug>.<base_domain>`. Without it, no such
    /// host names a tenant.
    pub base_domain: Option<DomainName>,
    /// The URL under which clients reach the gateway, such as `https://app.example.org`. It decides
    /// whether clients use TLS, and is the base of links in emails.
    pub public_url: Option<PublicUrl>,
    /// Networks of the proxies whose `X-Forwarded-Host`, `X-Forwarded-For` and `X-Forwarded-Proto`
    /// are trusted, separated by commas in the environment. If a network is too wide, clients can
    /// state a false host and a false address.
    #[serde(deserialize_with = "list_of_networks")]
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            operations_listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            request_timeout: Duration::from_secs(15),
            header_timeout: Duration::from_secs(10),
            // Longer than the 60 s for which load balancers keep a connection, so that they close
            // it first.
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(10),
            body_silence: Duration::from_secs(3),
            body_timeout: Duration::from_secs(10),
            max_body: 1024 * 1024,
            max_connections: 10_000,
            max_connections_per_network: 1_000,
            webhook_deadline: Duration::from_millis(1200),
            base_domain: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            // The sum is below the 30 s after which Kubernetes kills the process.
            drain_delay: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

fn list_of_networks<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: String| {
        let one_address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| one_address()).map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is neither a network such as 10.0.0.0/8 or fd00::/8 nor an address"
            ))
        })
    };
    list_of_texts(deserializer)?.into_iter().map(network).collect()
}

/// `registry`: the control database. `DATABASE_URL` is used if the environment does not set `url`;
/// it overrides the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrySettings {
    /// `postgres://user:password@host:port/database`. The user must be able to create roles and
    /// databases.
    pub url: Option<SecretString>,
    /// Connections to the registry, per replica.
    pub max_connections: u32,
    /// For this long, known tenants are served while the registry does not answer. `0s`: no tenant
    /// is served without the registry.
    #[serde(with = "humantime_serde")]
    pub outage_grace: Duration,
    /// How long `serve` tries to reach a registry that does not answer yet, before it exits.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            url: None,
            max_connections: 10,
            outage_grace: Duration::from_secs(60),
            start_timeout: Duration::from_secs(30),
        }
    }
}

/// `router`: connections to tenants' databases and look-ups of tenants.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterSettings {
    /// Tenants with an open pool at once. At the maximum, the least recently used idle pool is
    /// retired.
    pub max_open_tenants: usize,
    /// Connections in the pool of one tenant (1 to 50).
    pub max_connections_per_tenant: u32,
    /// Connections that this replica may open to one database server for all its tenants. Default:
    /// 80 % of what remains of the server's `max_connections` after reserved and registry
    /// connections, divided by `replicas`.
    pub max_connections_per_server: Option<u32>,
    /// Replicas that share the database servers.
    pub replicas: u32,
    /// How long a request waits for a connection before it is answered 503.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// Time limit of one connection attempt to a database server.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// A pool that is unused for this long is closed.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// The server cancels a statement that runs longer.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// If connections of a retired pool are still checked out after this long, their sessions are
    /// terminated on the server.
    #[serde(with = "humantime_serde")]
    pub retire_timeout: Duration,
    /// How long a look-up of a tenant is cached if no change of it is announced.
    #[serde(with = "humantime_serde")]
    pub directory_ttl: Duration,
    /// Pools of one database server that are opened at once.
    pub max_cold_opens: usize,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            max_open_tenants: 100,
            max_connections_per_tenant: 10,
            max_connections_per_server: None,
            replicas: 1,
            acquire_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(60),
            statement_timeout: Duration::from_secs(10),
            retire_timeout: Duration::from_secs(60),
            directory_ttl: Duration::from_secs(3600),
            max_cold_opens: 16,
        }
    }
}

/// `secrets`: the keys that seal secrets at rest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretsSettings {
    /// 32 bytes in base64. A person who has it and a copy of the registry can open every sealed
    /// value.
    pub master_key: Option<SecretString>,
    /// Master keys that the current one replaced, separated by commas in the environment. They open
    /// sealed values and seal no new ones.
    #[serde(deserialize_with = "list_of_secrets")]
    pub previous_master_keys: Vec<SecretString>,
}

fn list_of_secrets<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SecretString>, D::Error> {
    Ok(list_of_texts(deserializer)?.into_iter().map(SecretString::from).collect())
}

/// A list in the file, or one text with commas in the environment.
fn list_of_texts<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let texts = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        OneOrMany::Many(texts) => texts,
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

/// `auth`: tokens and password hashing.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// `iss` of the issued tokens. After a change, all older access tokens are refused.
    pub issuer: String,
    /// Life of an access token.
    #[serde(with = "humantime_serde")]
    pub access_token_ttl: Duration,
    /// Life of a refresh token. Each use renews it.
    #[serde(with = "humantime_serde")]
    pub refresh_token_ttl: Duration,
    /// Life of an operator's session and of its token, at most 8 h. There is no refresh token: the
    /// operator signs in again.
    #[serde(with = "humantime_serde")]
    pub operator_session_ttl: Duration,
    /// `true`: an operator without a second factor can only set one up.
    pub operator_mfa_required: bool,
    /// Cost of one password hash.
    pub argon2: Argon2Settings,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            issuer: "narthex".to_owned(),
            access_token_ttl: Duration::from_secs(15 * 60),
            refresh_token_ttl: Duration::from_secs(30 * 24 * 3600),
            operator_session_ttl: Duration::from_secs(8 * 3600),
            operator_mfa_required: true,
            argon2: Argon2Settings::default(),
        }
    }
}

/// `auth.argon2`: the cost of one Argon2id hash. The default is the first choice of OWASP's
/// password storage cheat sheet: 19 MiB, two passes, one lane.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Argon2Settings {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Number of passes over the memory.
    pub iterations: u32,
    /// Number of lanes.
    pub parallelism: u32,
}

impl Default for Argon2Settings {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, iterations: 2, parallelism: 1 }
    }
}

/// `telnyx`: the SMS provider.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelnyxSettings {
    /// The account's public key in base64 (32 bytes). Without it every webhook is refused.
    pub public_key: Option<String>,
}

/// `clerk`: an identity provider whose organizations become tenants and whose session tokens are
/// accepted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClerkSettings {
    /// Signing secret of the webhook endpoint, `whsec_` and base64. Without it every webhook is
    /// refused.
    pub webhook_secret: Option<SecretString>,
    /// `iss` of the session tokens: the instance's Frontend API URL, such as
    /// `https://clerk.example.org`. Without it, no token of Clerk is accepted.
    pub issuer: Option<String>,
    /// URL of the public keys of the tokens. Default: `{issuer}/.well-known/jwks.json`.
    pub jwks_url: Option<String>,
    /// Origins whose tokens are accepted (`azp`), such as `https://app.example.org`, separated by
    /// commas in the environment. Required with `issuer`: a token for another application is
    /// refused.
    #[serde(deserialize_with = "list_of_texts")]
    pub authorized_parties: Vec<String>,
}

/// `limits`: rate limits, counted by each replica separately. A rate is a number and a time:
/// `10/15m` allows ten at once, or one every 90 s.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSettings {
    /// `false`: no client is refused for calling too often.
    pub enabled: bool,
    /// Read requests of one tenant.
    pub tenant_reads: Rate,
    /// All other requests of one tenant.
    pub tenant_writes: Rate,
    /// Requests without a token from one address (of IPv6: from one /64).
    pub address: Rate,
    /// Registrations from one address.
    pub registration: Rate,
    /// Requests of one operator.
    pub operator: Rate,
    /// Emails to one address that clients request, for each kind of email.
    pub letters: Rate,
    /// Invitations that one tenant sends.
    pub invitations: Rate,
    /// Failed sign-ins to one account from one address.
    pub login: Rate,
    /// Failed sign-ins to one account from all addresses from which its users have not signed in.
    pub account: Rate,
}

impl Default for LimitsSettings {
    fn default() -> Self {
        let rate = |count, seconds| {
            Rate::new(count, Duration::from_secs(seconds)).unwrap_or(Rate::ONE_A_SECOND)
        };
        Self {
            enabled: true,
            tenant_reads: rate(30_000, 60),
            tenant_writes: rate(6_000, 60),
            address: rate(300, 60),
            registration: rate(20, 3600),
            operator: rate(120, 60),
            letters: rate(5, 3600),
            invitations: rate(50, 3600),
            login: rate(10, 15 * 60),
            account: rate(100, 3600),
        }
    }
}

/// `smtp`: the mail server for outgoing email.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpSettings {
    /// `smtps://user:password@host:465`, or `smtp://host:587?tls=required`. Without it, no email is
    /// sent.
    pub url: Option<SecretString>,
    /// Sender of emails, such as `Church office <office@example.org>`.
    pub from: Option<String>,
}

/// Level `info` for Narthex, and warnings of the database driver.
const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// `log`: log level and format.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `text` for people, `json` for log collectors.
    pub format: LogFormat,
    /// Filter directives: a level, or `target=level` pairs separated by commas.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: DEFAULT_FILTER.to_owned() }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line for each event.
    Text,
    /// One JSON object for each event.
    Json,
}
