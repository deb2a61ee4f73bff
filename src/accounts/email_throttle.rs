//! Emails that are asked for: counted for each address and purpose, and invitations for each tenant.

use crate::clock::Clock;
use crate::configuration::LimitsSettings;
use crate::identifiers::TenantId;
use crate::limits::{Limiter, RateLimitState};
use crate::tenant_data::one_time_tokens::Purpose;

/// Without buckets nothing is counted.
pub struct EmailThrottle(Option<Buckets>);

struct Buckets {
    /// Keyed hash of the address, and the purpose.
    emails: Limiter<Vec<u8>>,
    invitations: Limiter<TenantId>,
}

impl EmailThrottle {
    pub fn new(settings: &LimitsSettings, clock: &Clock) -> Self {
        Self(settings.enabled.then(|| Buckets {
            emails: Limiter::new(settings.letters, clock.clone()),
            invitations: Limiter::new(settings.invitations, clock.clone()),
        }))
    }

    /// An email to the address with this keyed hash. Each purpose is counted by itself: invitations again and again must not keep an
    /// account from a new password.
    pub fn take(&self, mut email_hash: Vec<u8>, purpose: Purpose) -> Result<(), RateLimitState> {
        email_hash.push(purpose as u8);
        self.0.as_ref().map_or(Ok(()), |buckets| buckets.emails.take(email_hash).map(drop))
    }

    /// An invitation of the tenant.
    pub fn take_invitation(&self, tenant: TenantId) -> Result<(), RateLimitState> {
        self.0.as_ref().map_or(Ok(()), |buckets| buckets.invitations.take(tenant).map(drop))
    }
}
