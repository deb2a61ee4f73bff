//! The settings of provisioning, and of the services of the operator that take part in it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize;
use serde::de::Error as _;

/// `provisioning`: making and removing tenants.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProvisioningSettings {
    /// Runs worked on at once by one replica; further ones wait.
    pub concurrency: usize,
    /// How long a registration request waits for its end before it answers 202.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    /// Databases kept ready on each database server, so that a new tenant needs no copy of the template. 0: none.
    pub spares: u64,
    /// A run whose process has given no sign of life for this long is taken up by another.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Attempts at one step before its run is undone; no step has more than it is made for.
    pub max_attempts: i32,
    /// For so long a deleted tenant can be restored; then it is removed for good.
    #[serde(with = "humantime_serde")]
    pub deletion_grace: Duration,
    /// A tenant that was registered, and of which nobody has proven an address for so long, ends. `0s`: never. Where no mail
    /// server is set, nobody can prove an address, and nothing ends.
    #[serde(with = "humantime_serde")]
    pub unproven_lifetime: Duration,
    /// Services of your own that take part.
    pub hooks: HooksSettings,
}

impl ProvisioningSettings {
    /// Connections that one replica needs for it to one server, at most.
    pub fn connections(&self) -> u32 {
        // Those, a mending and a purge.
        let runs = u32::try_from(self.concurrency).unwrap_or(u32::MAX).saturating_add(2);
        // The one that holds the tenant's lock; one to the template, or in line for a drop; one into the database.
        // Spares need one that holds the server's lock and one into the copy.
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

/// `provisioning.hooks`: services of your own that make something for each new tenant and release it when the tenant
/// is purged, or are told of it. Each is off until it is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HooksSettings {
    /// Its realm or organization at an identity provider.
    pub identity_realm: Option<HookSettings>,
    /// A place for its files.
    pub storage: Option<HookSettings>,
    /// Whatever it needs to run.
    pub infrastructure: Option<HookSettings>,
    /// What runs for it.
    pub deployment: Option<HookSettings>,
    /// The names by which it is found.
    pub dns: Option<HookSettings>,
    /// Told when it is active; a failure changes nothing for the tenant.
    pub notify: Option<HookSettings>,
}

/// One service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSettings {
    /// `https://`; plain `http://` is for this machine alone.
    #[serde(deserialize_with = "safe_url")]
    pub url: String,
    /// Signs the requests: base64, with or without `whsec_` before it.
    #[serde(deserialize_with = "signing_key")]
    pub key: HookKey,
}

/// The bytes of a signing key.
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
