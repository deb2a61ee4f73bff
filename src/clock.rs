//! The only source of the current time. Code that compares or records times gets a [`Clock`], so
//! that tests can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, TimeDelta, Utc};

/// Wall-clock time in UTC, with an offset that tests can change. Clones share the offset.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// A clock with the system's time and no offset.
    pub fn system() -> Self {
        Self::default()
    }

    /// The current time, truncated to microseconds, which is the precision of PostgreSQL.
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.now_us()).unwrap_or_default()
    }

    /// The current time in microseconds since 1970, for code that needs no date: computing a date
    /// costs more than reading the system clock.
    pub fn now_us(&self) -> i64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let system = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
        system.saturating_add(self.offset_ms.load(Ordering::Relaxed).saturating_mul(1000))
    }

    /// Moves this clock, and every clone of it, by `delta`.
    pub fn advance(&self, delta: TimeDelta) {
        self.offset_ms.fetch_add(delta.num_milliseconds(), Ordering::Relaxed);
    }
}
