//! Memory for request bodies: what has no room is turned away.

use crate::configuration::HttpSettings;
use crate::limits::Pool;

/// Bytes of bodies that are in memory at once, of calls and of webhooks. Apart, so that neither keeps the other out.
const CALLS: usize = 48 * 1024 * 1024;
const WEBHOOKS: usize = 16 * 1024 * 1024;
/// One network holds at most this part of either.
const SHARE: usize = 4;
/// Memory for bodies. It is taken for what has arrived, not for what may come.
pub struct BodyMemory {
    calls: Pool,
    webhooks: Pool,
}

impl BodyMemory {
    /// As large as these settings need.
    pub fn new(settings: &HttpSettings) -> Self {
        // The largest body that is allowed fits.
        let pool = |bytes: usize| {
            Pool::new(bytes.max(settings.max_body), (bytes / SHARE).max(settings.max_body))
        };
        Self { calls: pool(CALLS), webhooks: pool(WEBHOOKS) }
    }

    /// The part of it that is for this purpose.
    pub fn of(&self, purpose: Purpose) -> &Pool {
        match purpose {
            Purpose::Call => &self.calls,
            Purpose::Webhook => &self.webhooks,
        }
    }
}

/// What a body is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A call of the API.
    Call,
    /// An event of a provider.
    Webhook,
}
