//! A bounded set of connections to one database under one role, on bb8.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::connection::{Connection, Holder};
use super::failure::ConnectFailure;
use super::physical::{Physical, Target};

/// A connection that worked this recently is lent without asking the server first: the question would cost a
/// round trip for each request.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

/// Why no connection was lent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutFailure {
    /// All connections stayed in use for the whole wait.
    #[error("every connection of the pool is in use")]
    Busy,
    /// A connection was needed and could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
}

/// Sizes and times of a pool.
#[derive(Clone, Debug)]
pub struct PoolLimits {
    /// Connections at most.
    pub max_connections: u32,
    /// Longest wait for one.
    pub acquire_timeout: Duration,
    /// A connection that is idle for longer is closed.
    pub idle_timeout: Duration,
}

pub(super) struct Manager {
    target: Target,
}

impl bb8::ManageConnection for Manager {
    type Connection = Physical;
    type Error = ConnectFailure;

    async fn connect(&self) -> Result<Physical, ConnectFailure> {
        self.target.connect().await
    }

    async fn is_valid(&self, connection: &mut Physical) -> Result<(), ConnectFailure> {
        connection.check_after(TRUSTED_FOR).await
    }

    fn has_broken(&self, connection: &mut Physical) -> bool {
        connection.is_uncertain()
    }
}

/// bb8 retries a failed connect in the background and tells the waiting caller nothing; this remembers why.
#[derive(Clone, Debug, Default)]
struct LastFailure(Arc<Mutex<Option<(Instant, ConnectFailure)>>>);

impl LastFailure {
    fn since(&self, start: Instant) -> Option<ConnectFailure> {
        let last = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        last.as_ref().filter(|(at, _)| *at >= start).map(|(_, failure)| failure.clone())
    }
}

impl bb8::ErrorSink<ConnectFailure> for LastFailure {
    fn sink(&self, failure: ConnectFailure) {
        tracing::warn!(%failure, "a pooled connection failed");
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) =
            Some((Instant::now(), failure));
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<ConnectFailure>> {
        Box::new(self.clone())
    }
}

/// Lends connections. Clones share the connections; they close when the last clone and the last lease are gone.
#[derive(Clone)]
pub struct Pool {
    pool: bb8::Pool<Manager>,
    last_failure: LastFailure,
    acquire_timeout: Duration,
}

impl Pool {
    /// Opens the pool by way of its first connection, so that a server that cannot be reached is known at once.
    pub async fn open(target: Target, limits: &PoolLimits) -> Result<Self, ConnectFailure> {
        let pool = Self::build(target, limits);
        let first = pool.pool.dedicated_connection().await?;
        // A fresh pool has room for its first connection; were it full or the socket broken already, the
        // next checkout would open another.
        let _ = pool.pool.add(first);
        Ok(pool)
    }

    fn build(target: Target, limits: &PoolLimits) -> Self {
        let last_failure = LastFailure::default();
        let pool = bb8::Pool::builder()
            .max_size(limits.max_connections)
            .min_idle(0)
            .connection_timeout(limits.acquire_timeout)
            .idle_timeout(Some(limits.idle_timeout))
            .max_lifetime(Some(Duration::from_secs(30 * 60)))
            .reaper_rate(
                limits.idle_timeout.clamp(Duration::from_millis(50), Duration::from_secs(30)),
            )
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .error_sink(Box::new(last_failure.clone()))
            .build_unchecked(Manager { target });
        Self { pool, last_failure, acquire_timeout: limits.acquire_timeout }
    }

    /// Lends a connection to the holder of `scope`, within the pool's own acquire timeout. The scope is dropped
    /// after the connection went back.
    pub async fn lend<S: Send + Sync + 'static>(
        &self,
        scope: S,
    ) -> Result<Connection<S>, CheckoutFailure> {
        self.lend_before(scope, tokio::time::Instant::now() + self.acquire_timeout).await
    }

    /// As [`Pool::lend`], with a deadline; the acquire timeout of the pool is the upper bound.
    pub async fn lend_before<S: Send + Sync + 'static>(
        &self,
        scope: S,
        deadline: tokio::time::Instant,
    ) -> Result<Connection<S>, CheckoutFailure> {
        let start = Instant::now();
        match tokio::time::timeout_at(deadline, self.pool.get_owned()).await {
            Ok(Ok(physical)) => Ok(Connection::new(Holder::Pooled(physical), scope)),
            Ok(Err(bb8::RunError::User(failure))) => Err(failure.into()),
            Ok(Err(bb8::RunError::TimedOut)) | Err(_) => Err(self
                .last_failure
                .since(start)
                .map_or(CheckoutFailure::Busy, CheckoutFailure::Connect)),
        }
    }

    /// Connections that exist, lent and idle.
    pub fn connections(&self) -> u32 {
        self.pool.state().connections
    }

    /// Connections that wait to be lent.
    pub fn idle_connections(&self) -> u32 {
        self.pool.state().idle_connections
    }
}
