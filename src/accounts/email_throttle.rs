//! Rate limits of emails that clients request: for each address and purpose, and of invitations for
//! each tenant.

use crate::clock::Clock;
use crate::configuration::LimitsSettings;
use crate::identifiers::TenantId;
use crate::limits::{Limiter, RateLimitState};
use crate::tenant_data::one_time_tokens::Purpose;

/// `None` if rate limits are disabled.
pub struct EmailThrottle(Option<Buckets>);

struct Buckets {
    /// Key: keyed hash of the address, and the purpose.
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

    /// Counts an email to the address with this keyed hash. Each purpose has its own limit, so that
    /// many invitations cannot block the password reset of an account.
    pub fn take(&self, mut email_hash: Vec<u8>, purpose: Purpose) -> Result<(), RateLimitState> {
        email_hash.push(purpose as u8);
        self.0.as_ref().map_or(Ok(()), |buckets| buckets.emails.take(email_hash).map(drop))
    }

    /// Counts an invitation by the tenant.
    pub fn take_invitation(&self, tenant: TenantId) -> Result<(), RateLimitState> {
        self.0.as_ref().map_or(Ok(()), |buckets| buckets.invitations.take(tenant).map(drop))
    }
}
