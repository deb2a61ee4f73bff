//! Who owns a socket: a pool, one connection alone, or nobody any more.

use std::ops::{Deref, DerefMut};

use tokio::sync::OwnedSemaphorePermit;

use super::pool::{Checkout, Manager, Pool};
use super::raw_connection::RawConnection;

/// Who owns the socket.
pub(super) enum ConnectionSource {
    /// A pool that wants it back, and after it the turn of whoever comes next.
    Pooled(bb8::PooledConnection<'static, Manager>, OwnedSemaphorePermit, Pool),
    /// This connection alone.
    Owned(Box<RawConnection>),
    /// Nobody: it died, and no other could be had. The mark of the session says so.
    Nobody,
}

impl Deref for ConnectionSource {
    type Target = RawConnection;
    fn deref(&self) -> &RawConnection {
        match self {
            Self::Pooled(raw_connection, ..) => raw_connection,
            Self::Owned(raw_connection) => raw_connection,
            Self::Nobody => unreachable!("no operation starts on a marked session"),
        }
    }
}

impl DerefMut for ConnectionSource {
    fn deref_mut(&mut self) -> &mut RawConnection {
        match self {
            Self::Pooled(raw_connection, ..) => raw_connection,
            Self::Owned(raw_connection) => raw_connection,
            Self::Nobody => unreachable!("no operation starts on a marked session"),
        }
    }
}

impl From<Checkout> for ConnectionSource {
    fn from(Checkout { connection, permit, pool }: Checkout) -> Self {
        Self::Pooled(connection, permit, pool)
    }
}
