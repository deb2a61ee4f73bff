//! The hooks: HTTP services of the operator that make something for a tenant (identity realm,
//! storage, infrastructure, deployment, DNS) or are notified of it. Each is off until it has an
//! address. Requests are signed as Standard Webhooks, and a repeated request has the same id.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::configuration::{HookSettings, HooksSettings};
use crate::identifiers::{RunId, TenantId};
use crate::outbound;
use crate::registry::tenants::Tenant;
use crate::standard_webhooks::Secret;

/// The time limit for the whole response of a service.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Longer responses are not read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The services that can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    IdentityRealm,
    Storage,
    Infrastructure,
    Deployment,
    Dns,
    Notify,
}

impl Hook {
    const ALL: [Self; 6] = [
        Self::IdentityRealm,
        Self::Storage,
        Self::Infrastructure,
        Self::Deployment,
        Self::Dns,
        Self::Notify,
    ];

    /// The name of the service as a resource kind, and in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::IdentityRealm => "identity_realm",
            Self::Storage => "storage",
            Self::Infrastructure => "infrastructure",
            Self::Deployment => "deployment",
            Self::Dns => "dns",
            Self::Notify => "notify",
        }
    }
}

/// The action that a service is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookAction {
    Make,
    Release,
    Tell,
}

impl HookAction {
    fn name(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Release => "release",
            Self::Tell => "active",
        }
    }
}

/// Why a service has not performed an action.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    #[error("the service `{0}` is not configured any more; set provisioning.hooks.{0} again")]
    NotConfigured(&'static str),
    #[error("the service `{0}` was not reached: {1}")]
    Unreachable(&'static str, String),
    /// A later attempt may succeed.
    #[error("the service `{0}` answered {1}")]
    NotNow(&'static str, u16),
    /// No attempt will succeed.
    #[error("the service `{0}` refused with {1}")]
    Refused(&'static str, u16),
}

impl HookError {
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused(..))
    }
}

#[derive(Serialize)]
struct Call<'a> {
    /// The action, for example `tenant.dns.make`.
    r#type: String,
    /// The time of the request (RFC 3339).
    timestamp: String,
    data: Subject<'a>,
}

#[derive(Serialize)]
struct Subject<'a> {
    tenant_id: TenantId,
    slug: &'a str,
    organization_name: &'a str,
    /// The service's name for the resource, from the response to its creation.
    reference: Option<&'a str>,
}

#[derive(Deserialize, Default)]
struct Answer {
    reference: Option<String>,
}

/// The client and the settings of all services.
#[derive(Clone)]
pub(super) struct Hooks {
    settings: HooksSettings,
    /// `None` if no service is configured: creating the client reads the system's root
    /// certificates.
    client: Option<reqwest::Client>,
    clock: Clock,
}

impl Hooks {
    pub fn new(settings: HooksSettings, clock: Clock) -> Result<Self, reqwest::Error> {
        let mut hooks = Self { settings, client: None, clock };
        if Hook::ALL.iter().any(|hook| hooks.is_on(*hook)) {
            hooks.client = Some(outbound::client(TIMEOUT)?);
        }
        Ok(hooks)
    }

    fn settings_of(&self, hook: Hook) -> Option<&HookSettings> {
        let settings = &self.settings;
        match hook {
            Hook::IdentityRealm => settings.identity_realm.as_ref(),
            Hook::Storage => settings.storage.as_ref(),
            Hook::Infrastructure => settings.infrastructure.as_ref(),
            Hook::Deployment => settings.deployment.as_ref(),
            Hook::Dns => settings.dns.as_ref(),
            Hook::Notify => settings.notify.as_ref(),
        }
    }

    pub fn is_on(&self, hook: Hook) -> bool {
        self.settings_of(hook).is_some()
    }

    /// Asks a service to perform an action for a tenant. Returns the service's name for the
    /// resource.
    pub async fn call(
        &self,
        hook: Hook,
        act: HookAction,
        run: RunId,
        tenant: &Tenant,
        reference: Option<&str>,
    ) -> Result<Option<String>, HookError> {
        let name = hook.name();
        let (Some(settings), Some(client)) = (self.settings_of(hook), &self.client) else {
            return Err(HookError::NotConfigured(name));
        };
        let now = self.clock.now();
        let call = Call {
            r#type: format!("tenant.{name}.{}", act.name()),
            timestamp: now.to_rfc3339(),
            data: Subject {
                tenant_id: tenant.id,
                slug: &tenant.slug,
                organization_name: &tenant.organization_name,
                reference,
            },
        };
        let unreachable = |e: &dyn std::fmt::Display| HookError::Unreachable(name, e.to_string());
        let body = serde_json::to_vec(&call).map_err(|e| unreachable(&e))?;
        let id = format!("{run}.{name}.{}", act.name());
        let secret = Secret::of_bytes(settings.key.0.expose_secret());
        let signature = secret.sign(&id, now.timestamp(), &body);
        let request = client
            .post(&settings.url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.timestamp())
            .header("webhook-signature", signature)
            .body(body);
        let mut response = request.send().await.map_err(|e| unreachable(&e.without_url()))?;
        let status = response.status();
        match status.as_u16() {
            // Still in progress: to be requested again.
            202 => return Err(HookError::NotNow(name, 202)),
            200..=299 => {}
            404 | 410 if act == HookAction::Release => return Ok(None),
            // Timeout, conflict, too early, too many requests: another attempt may succeed.
            408 | 409 | 425 | 429 => return Err(HookError::NotNow(name, status.as_u16())),
            400..=499 => return Err(HookError::Refused(name, status.as_u16())),
            other => return Err(HookError::NotNow(name, other)),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(&e.without_url()))? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(unreachable(&"its answer is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        match serde_json::from_slice::<Answer>(&bytes) {
            Ok(answer) => Ok(answer.reference),
            Err(error) => {
                if act == HookAction::Make && !bytes.is_empty() {
                    tracing::warn!(service = name, tenant = %tenant.id, %error, "a service has answered with something else than JSON with a `reference`; what it has made is kept without one");
                }
                Ok(None)
            }
        }
    }
}
