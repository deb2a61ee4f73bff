//! Settings of provisioning and of its hooks.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize;
use serde::de::Error as _;

/// `provisioning`: creation and removal of tenants.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProvisioningSettings {
    /// Runs that one replica works on at once; further ones wait.
    pub concurrency: usize,
    /// How long a registration request waits for its run before it is answered 202.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    /// Warm databases kept ready on each database server that takes new tenants, so that a new
    /// tenant needs no copy of the template. 0: none.
    pub spares: u64,
    /// If the process of a run has not renewed its lease for this long, another process takes the
    /// run.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Attempts at one step before its run is undone. A step's own maximum still applies.
    pub max_attempts: i32,
    /// Time in which a deleted tenant can be restored. After it, the tenant is purged.
    #[serde(with = "humantime_serde")]
    pub deletion_grace: Duration,
    /// A registered tenant is deleted if no email address of its staff was proven for this long.
    /// `0s`: never. Without a mail server no address can be proven, and no tenant is deleted.
    #[serde(with = "humantime_serde")]
    pub unproven_lifetime: Duration,
    /// Hooks: services of the operator that take part in provisioning.
    pub hooks: HooksSettings,
}

impl ProvisioningSettings {
    /// Maximum number of connections that one replica needs for provisioning on one server.
    pub fn connections(&self) -> u32 {
        // The concurrent runs, one repair and one purge.
        let runs = u32::try_from(self.concurrency).unwrap_or(u32::MAX).saturating_add(2);
        // For each run: one connection that holds the tenant's lock, one to the template or waiting
        // for a drop, and one into the tenant's database. Warm databases need one that holds the
        // server's lock and one into the copy.
        runs.saturating_mul(3).saturating_add(2)
    }
}

impl Default for ProvisioningSettings {
    fn default() -> Self {
        Self {
            concurrency: 4,
            wait: Duration::from_secs(5),
            spares: 2,
            lease: Duration::from_secs(15),
            max_attempts: 30,
            deletion_grace: Duration::from_secs(30 * 24 * 3600),
            unproven_lifetime: Duration::from_secs(7 * 24 * 3600),
            hooks: HooksSettings::default(),
        }
    }
}

/// `provisioning.hooks`: services of the operator that create something for each new tenant and
/// release it when the tenant is purged, or are notified of it. Each is off until it is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HooksSettings {
    /// Creates the tenant's realm or organization at an identity provider.
    pub identity_realm: Option<HookSettings>,
    /// Creates the tenant's file storage.
    pub storage: Option<HookSettings>,
    /// Creates other infrastructure of the tenant.
    pub infrastructure: Option<HookSettings>,
    /// Deploys programs for the tenant.
    pub deployment: Option<HookSettings>,
    /// Creates the tenant's DNS names.
    pub dns: Option<HookSettings>,
    /// Notified when the tenant is active. A failure has no effect on the tenant.
    pub notify: Option<HookSettings>,
}

/// One hook.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSettings {
    /// `https://` URL of the service; `http://` is allowed only for this machine.
    #[serde(deserialize_with = "safe_url")]
    pub url: String,
    /// Signs the requests: base64, with or without the prefix `whsec_`.
    #[serde(deserialize_with = "signing_key")]
    pub key: HookKey,
}

/// The bytes of a hook's signing key.
#[derive(Clone, Debug)]
pub struct HookKey(pub SecretSlice<u8>);

fn safe_url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let local = |rest: &str| {
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        matches!(name, "localhost" | "127.0.0.1" | "[::1]")
    };
    if text.starts_with("https://") || text.strip_prefix("http://").is_some_and(local) {
        Ok(text)
    } else {
        Err(D::Error::custom("must be an https:// URL; http:// is for this machine alone"))
    }
}

fn signing_key<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<HookKey, D::Error> {
    let text = SecretString::deserialize(deserializer)?;
    let text = text.expose_secret().trim();
    let bytes = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text));
    match bytes {
        Ok(bytes) if bytes.len() >= 24 => Ok(HookKey(SecretSlice::from(bytes))),
        _ => Err(D::Error::custom("must be at least 24 bytes in base64")),
    }
}
