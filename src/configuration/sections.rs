//! Every setting, its unit and its default.

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

/// All sections.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The public listener and that of operations.
    pub http: HttpSettings,
    /// The control database.
    pub registry: RegistrySettings,
    /// Pools and look-ups of tenants.
    pub router: RouterSettings,
    /// Keys that seal secrets at rest.
    pub secrets: SecretsSettings,
    /// Tokens and password hashing.
    pub auth: AuthSettings,
    /// Making and removing tenants.
    pub provisioning: ProvisioningSettings,
    /// The SMS provider.
    pub telnyx: TelnyxSettings,
    /// The identity provider.
    pub clerk: ClerkSettings,
    /// How often somebody may call.
    pub limits: LimitsSettings,
    /// Letters to people.
    pub smtp: SmtpSettings,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// Deliveries of Clerk that one replica works on at once.
pub const CLERK_DELIVERIES_AT_ONCE: u32 = 3;

impl Settings {
    /// With fewer connections to the registry a replica can stand still. Work on a delivery of Clerk holds one for as long as
    /// it settles an organization and asks for a second one meanwhile; one more is for requests and leases.
    pub fn least_registry_connections(&self) -> u32 {
        let held = if self.clerk.webhook_secret.is_some() { CLERK_DELIVERIES_AT_ONCE } else { 0 };
        held + 2
    }
}

/// `http`: the public listener and that of operations. TLS from clients ends at the proxy in front; HTTP/1 and h2c
/// are served.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address and port of metrics and of the health of single tenants; port 0 takes a free one. Who can reach it
    /// is asked for nothing: it must not be open to clients.
    pub operations_listen: SocketAddr,
    /// A request that takes longer is answered 503 `busy` and its work is cancelled.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// A new client, and one that has begun the head of a request, is disconnected when it has not sent all of the head by
    /// then.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// A connection on which no request has begun or ended for this long is closed.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// A client that has read nothing of what is being sent to it for this long is disconnected.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// A body of which nothing has come for this long is answered 408 `body_timeout`; so is one that comes more slowly than
    /// 8 KiB a second beyond it.
    #[serde(with = "humantime_serde")]
    pub body_silence: Duration,
    /// A body that is not there by then is answered 408 `body_timeout`.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Largest request body, in bytes; a longer one gets 413.
    pub max_body: usize,
    /// Connections served at once by each listener; further ones wait in its backlog.
    pub max_connections: usize,
    /// Of them, by one network (an IPv4 address, a /64 of IPv6); further ones are closed. Trusted proxies are not counted.
    pub max_connections_per_network: usize,
    /// After this long an SMS event is parked instead of written to its tenant (the provider waits 2 s).
    #[serde(with = "humantime_serde")]
    pub webhook_deadline: Duration,
    /// For so long after SIGTERM readiness fails while requests are still taken, so that load balancers notice
    /// before anybody is refused. `0s` closes the listeners at once.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// Once the listeners are closed, requests in flight get this long to finish.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// The domain below which every tenant has a host, `<slug>.<base_domain>`. Without it no host names a tenant.
    pub base_domain: Option<DomainName>,
    /// The URL under which clients reach the gateway, such as `https://app.example.org`: it says whether they speak TLS, and
    /// where links in mails lead.
    pub public_url: Option<PublicUrl>,
    /// Networks of the proxies whose `X-Forwarded-Host`, `X-Forwarded-For` and `X-Forwarded-Proto` are believed, separated by
    /// commas in the environment. One that is too wide lets clients say by themselves which host they have called, and from
    /// where.
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
            // Longer than the 60 s for which load balancers keep a connection: they must be the ones to close it.
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
            // Together below the 30 s after which Kubernetes kills.
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

/// `registry`: the control database. `DATABASE_URL` is read where `url` is not set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrySettings {
    /// `postgres://user:password@host:port/database`. The user must be able to create roles and databases.
    pub url: Option<SecretString>,
    /// Connections to the registry, per replica.
    pub max_connections: u32,
    /// While the registry does not answer, tenants that are known are served for this long.
    #[serde(with = "humantime_serde")]
    pub outage_grace: Duration,
    /// `serve` waits so long for a registry that does not answer yet.
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

/// `router`: pools and look-ups of tenants.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterSettings {
    /// Tenants with an open pool at once; at the cap the least recently used idle one is retired.
    pub max_open_tenants: usize,
    /// Connections of one tenant's pool (1 to 50).
    pub max_connections_per_tenant: u32,
    /// Connections of all tenants of one database server together, opened by this replica. Where absent: 80 % of what
    /// the server's `max_connections` leaves after reserved and registry connections, divided by `replicas`.
    pub max_connections_per_server: Option<u32>,
    /// Replicas that share the database servers.
    pub replicas: u32,
    /// How long a request waits for a connection before 503.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// How long one connection attempt to a database server may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// A pool unused for this long is closed.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// The server cancels a statement that runs longer.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// A retired pool whose connections are still lent after this long has its sessions ended by force.
    #[serde(with = "humantime_serde")]
    pub retire_timeout: Duration,
    /// How long a look-up of a tenant may be answered from memory, where no change of it is announced.
    #[serde(with = "humantime_serde")]
    pub directory_ttl: Duration,
    /// Connections being opened to cold tenants at once.
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
    /// 32 bytes in base64. Whoever has it and a copy of the registry can open every sealed value.
    pub master_key: Option<SecretString>,
    /// Keys that the current one replaced, separated by commas in the environment: they open, and no longer seal.
    #[serde(deserialize_with = "list_of_secrets")]
    pub previous_master_keys: Vec<SecretString>,
}

fn list_of_secrets<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SecretString>, D::Error> {
    Ok(list_of_texts(deserializer)?.into_iter().map(SecretString::from).collect())
}

/// A list in the file, or one text with commas.
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
    /// `iss` of our tokens.
    pub issuer: String,
    /// Life of an access token.
    #[serde(with = "humantime_serde")]
    pub access_token_ttl: Duration,
    /// Life of a refresh token, renewed at each use.
    #[serde(with = "humantime_serde")]
    pub refresh_token_ttl: Duration,
    /// Life of an operator's session and of its token, 8 h at most. There is no refresh token: they sign in again.
    #[serde(with = "humantime_serde")]
    pub operator_session_ttl: Duration,
    /// `true`: an operator without a second factor can do nothing but set one up.
    pub operator_mfa_required: bool,
    /// Cost of a password hash.
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

/// `auth.argon2`: the cost of one Argon2id hash. The default is the first choice of OWASP's password storage
/// cheat sheet: 19 MiB, two passes, one lane.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Argon2Settings {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
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

/// `clerk`: an identity provider whose organizations become tenants, and whose session tokens are believed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClerkSettings {
    /// Signing secret of the webhook endpoint, `whsec_` and base64. Without it every webhook is refused.
    pub webhook_secret: Option<SecretString>,
    /// `iss` of the session tokens: the instance's Frontend API URL, such as `https://clerk.example.org`. Without it no
    /// token of Clerk is believed.
    pub issuer: Option<String>,
    /// Where the keys of the tokens are read; `{issuer}/.well-known/jwks.json` where absent.
    pub jwks_url: Option<String>,
    /// Origins whose tokens are believed (`azp`), such as `https://app.example.org`, separated by commas in the
    /// environment. Needed with `issuer`: a token that was made for another application is none for us.
    #[serde(deserialize_with = "list_of_texts")]
    pub authorized_parties: Vec<String>,
}

/// `limits`: how often somebody may call, for each replica by itself. A rate is a number and a time, `10/15m`: all of them at
/// once, or one after the other as time goes by.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSettings {
    /// `false`: nobody is ever turned away for calling too often.
    pub enabled: bool,
    /// Requests of a tenant that only read.
    pub tenant_reads: Rate,
    /// All other requests of a tenant.
    pub tenant_writes: Rate,
    /// Requests without a token from one address (of IPv6: one /64).
    pub address: Rate,
    /// Registrations from one address.
    pub registration: Rate,
    /// Requests of one operator.
    pub operator: Rate,
    /// Letters to one address that somebody asks for.
    pub letters: Rate,
    /// Invitations that one tenant sends.
    pub invitations: Rate,
    /// Failed sign-ins to one account from one address.
    pub login: Rate,
    /// Failed sign-ins to one account from all addresses from which nobody has signed in to it.
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

/// `smtp`: the server that takes letters to people.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpSettings {
    /// `smtps://user:password@host:465`, or `smtp://host:587?tls=required`. Without it no letter is sent.
    pub url: Option<SecretString>,
    /// Whom letters are from, such as `Church office <office@example.org>`.
    pub from: Option<String>,
}

/// Everything of ours from `info`; of the database driver what is wrong.
const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// `log`: what is logged, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `text` for people, `json` for collectors.
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
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}
