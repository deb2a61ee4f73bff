//! Who owns a socket: a pool, one connection alone, or nobody any more.

use std::ops::{Deref, DerefMut};

use tokio::sync::OwnedSemaphorePermit;

use super::physical::Physical;
use super::pool::{Checkout, Manager, Pool};

/// Who owns the socket.
pub(super) enum Holder {
    /// A pool that wants it back, and after it the turn of whoever comes next.
    Pooled(bb8::PooledConnection<'static, Manager>, OwnedSemaphorePermit, Pool),
    /// This connection alone.
    Owned(Box<Physical>),
    /// Nobody: it died, and no other could be had. The mark of the session says so.
    Nobody,
}

impl Deref for Holder {
    type Target = Physical;
    fn deref(&self) -> &Physical {
        match self {
            Self::Pooled(physical, ..) => physical,
            Self::Owned(physical) => physical,
            Self::Nobody => unreachable!("no operation starts on a marked session"),
        }
    }
}

impl DerefMut for Holder {
    fn deref_mut(&mut self) -> &mut Physical {
        match self {
            Self::Pooled(physical, ..) => physical,
            Self::Owned(physical) => physical,
            Self::Nobody => unreachable!("no operation starts on a marked session"),
        }
    }
}

impl From<Checkout> for Holder {
    fn from(Checkout { connection, turn, pool }: Checkout) -> Self {
        Self::Pooled(connection, turn, pool)
    }
}
