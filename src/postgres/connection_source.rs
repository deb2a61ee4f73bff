//! The owner of a socket: a pool, a single connection, or none after the socket has died.

use std::ops::{Deref, DerefMut};

use tokio::sync::OwnedSemaphorePermit;

use super::pool::{Checkout, Manager, Pool};
use super::raw_connection::RawConnection;

/// The owner of the socket.
pub(super) enum ConnectionSource {
    /// A pool, to which the connection goes back. The permit is released after it.
    Pooled(bb8::PooledConnection<'static, Manager>, OwnedSemaphorePermit, Pool),
    /// The connection owns the socket alone.
    Owned(Box<RawConnection>),
    /// The socket died, and no replacement could be acquired. The session is marked dirty.
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
