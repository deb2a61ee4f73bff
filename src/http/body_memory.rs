//! Memory for request bodies. A body that does not fit is refused.

use crate::configuration::HttpSettings;
use crate::limits::Pool;

/// Bytes of bodies that may be in memory at once: of API calls, and of webhooks. The two are
/// separate, so that a flood of one does not block the other.
const CALLS: usize = 48 * 1024 * 1024;
const WEBHOOKS: usize = 16 * 1024 * 1024;
/// Divisor: one network may hold at most a quarter of either pool.
const SHARE: usize = 4;
/// Memory for bodies. It is charged for the bytes that have arrived, not for the announced length.
pub struct BodyMemory {
    calls: Pool,
    webhooks: Pool,
}

impl BodyMemory {
    /// Creates both pools. They are larger than their constants where `http.max_body` needs it.
    pub fn new(settings: &HttpSettings) -> Self {
        // The largest allowed body fits in both.
        let pool = |bytes: usize| {
            Pool::new(bytes.max(settings.max_body), (bytes / SHARE).max(settings.max_body))
        };
        Self { calls: pool(CALLS), webhooks: pool(WEBHOOKS) }
    }

    /// The pool for bodies of this purpose.
    pub fn of(&self, purpose: Purpose) -> &Pool {
        match purpose {
            Purpose::Call => &self.calls,
            Purpose::Webhook => &self.webhooks,
        }
    }
}

/// The kind of request that a body belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A request to the API.
    Call,
    /// An event of a provider.
    Webhook,
}
