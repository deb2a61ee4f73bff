//! A bounded set of connections to one database under one role, on bb8.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::autosize::{Autosize, GROW_AFTER};
use super::failure::ConnectFailure;
use super::raw_connection::{RawConnection, Target};

/// A connection that worked this recently is given to a caller without a ping: the ping would cost
/// each request a round trip.
const TRUSTED_FOR: Duration = Duration::from_secs(5);
/// Callers that still wait try a failed opening again after this long.
const AFTER_A_FAILURE: Duration = Duration::from_millis(200);
/// A waiter re-enters bb8's queue after this long: bb8 may have told another waiter of a connection
/// that came free.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Why a caller got no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutFailure {
    /// All connections stayed in use for the whole wait.
    #[error("every connection of the pool is in use")]
    Busy,
    /// A connection was needed and could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
}

/// The size and the time limits of a pool.
#[derive(Clone, Debug)]
pub struct PoolLimits {
    /// The highest number of connections.
    pub max_connections: u32,
    /// The longest wait for a connection.
    pub acquire_timeout: Duration,
    /// A connection that is idle for longer is closed.
    pub idle_timeout: Duration,
}

pub(super) struct Manager {
    target: Arc<Target>,
}

/// What happened to a connection inside bb8.
#[derive(Debug)]
pub(super) enum ConnectionError {
    /// The connection could not be opened.
    NotOpened(ConnectFailure),
    /// The connection did not answer a ping. Another one is opened instead.
    Dead(ConnectFailure),
    /// The connection's cached state is outdated. Another one is opened instead.
    Outdated,
}

impl ConnectionError {
    fn into_failure(self) -> ConnectFailure {
        match self {
            Self::NotOpened(failure) | Self::Dead(failure) => failure,
            Self::Outdated => ConnectFailure::Withdrawn,
        }
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = RawConnection;
    type Error = ConnectionError;

    async fn connect(&self) -> Result<RawConnection, ConnectionError> {
        self.target.connect().await.map_err(ConnectionError::NotOpened)
    }

    async fn is_valid(&self, connection: &mut RawConnection) -> Result<(), ConnectionError> {
        if connection.is_outdated() {
            return Err(ConnectionError::Outdated);
        }
        connection.check_after(TRUSTED_FOR).await.map_err(ConnectionError::Dead)
    }

    fn has_broken(&self, connection: &mut RawConnection) -> bool {
        connection.is_to_be_closed()
    }
}

/// bb8 does not tell a waiting caller that a connection could not be opened. This channel does.
#[derive(Clone, Debug)]
struct FailedConnects(Arc<watch::Sender<Option<(Instant, ConnectFailure)>>>);

impl FailedConnects {
    fn since(&self, start: Instant) -> Option<ConnectFailure> {
        let last = self.0.borrow();
        last.as_ref().filter(|(at, _)| *at >= start).map(|(_, failure)| failure.clone())
    }

    /// Resolves when an opening has failed since `start`.
    async fn after(&self, start: Instant) -> ConnectFailure {
        let mut news = self.0.subscribe();
        loop {
            if let Some(failure) = self.since(start) {
                return failure;
            }
            // The sender lives as long as `self`.
            let _ = news.changed().await;
        }
    }
}

/// bb8 calls this after it has stopped counting on the failed attempt: a caller that asks from then
/// on starts another attempt.
impl bb8::ErrorSink<ConnectionError> for FailedConnects {
    fn sink(&self, error: ConnectionError) {
        match error {
            ConnectionError::NotOpened(failure) => {
                match failure {
                    // Logged when the backoff began, or not a fault of the server.
                    ConnectFailure::BackingOff { .. }
                    | ConnectFailure::NoPermit
                    | ConnectFailure::Withdrawn => {
                        tracing::debug!(%failure, "a pooled connection was not opened");
                    }
                    _ => tracing::warn!(%failure, "a pooled connection could not be opened"),
                }
                self.0.send_replace(Some((Instant::now(), failure)));
            }
            ConnectionError::Dead(failure) => {
                tracing::info!(%failure, "a pooled connection was dead and is replaced");
            }
            ConnectionError::Outdated => {
                tracing::debug!("a pooled connection was outdated and is replaced");
            }
        }
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<ConnectionError>> {
        Box::new(self.clone())
    }
}

/// A connection on its way from the pool to a request.
pub struct Checkout {
    pub(super) connection: bb8::PooledConnection<'static, Manager>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) pool: Pool,
}

/// Gives connections to callers. Clones share the connections, which close when the last clone and
/// the last lease are gone.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    pool: bb8::Pool<Manager>,
    target: Arc<Target>,
    failed_connects: FailedConnects,
    acquire_timeout: Duration,
    /// One permit for each connection that there may be at present.
    permits: Arc<Semaphore>,
    autosize: Autosize,
    waiting: AtomicUsize,
    /// A holder whose connection dies gets no new one.
    is_retired: AtomicBool,
}

/// Counts a caller as waiting until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// Opens the pool with its first connection, so that an unreachable server is noticed at once.
    pub async fn open(target: Target, limits: &PoolLimits) -> Result<Self, ConnectFailure> {
        let pool = Self::build(Arc::new(target), limits);
        pool.0.target.signals.opens_first();
        let first =
            pool.0.pool.dedicated_connection().await.map_err(ConnectionError::into_failure)?;
        // A new pool has room for its first connection. If it were full or the socket broken
        // already, the next checkout would open another one.
        let _ = pool.0.pool.add(first);
        Ok(pool)
    }

    fn build(target: Arc<Target>, limits: &PoolLimits) -> Self {
        let failed_connects = FailedConnects(Arc::new(watch::Sender::new(None)));
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
            // The next caller tries again, so that no caller waits for bb8's pauses between
            // attempts.
            .retry_connection(false)
            .error_sink(Box::new(failed_connects.clone()))
            .build_unchecked(Manager { target: target.clone() });
        Self(Arc::new(Shared {
            pool,
            target,
            failed_connects,
            acquire_timeout: limits.acquire_timeout,
            permits: Arc::new(Semaphore::new(1)),
            autosize: Autosize::new(limits.max_connections),
            waiting: AtomicUsize::new(0),
            is_retired: AtomicBool::new(false),
        }))
    }

    /// The deadline of a caller that comes now: now plus the pool's acquire timeout.
    pub(super) fn deadline(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.0.acquire_timeout
    }

    /// A connection without a holder, given in order of arrival. The deadline must be no later than
    /// the pool's acquire timeout allows. If no connection is left that could come back, the
    /// failure to open one is returned at once.
    pub async fn checkout_before(
        &self,
        deadline: tokio::time::Instant,
    ) -> Result<Checkout, CheckoutFailure> {
        let permit = self.0.permits.clone().try_acquire_owned().ok();
        self.checkout_with(permit, deadline).await
    }

    /// A new connection for the holder of this permit, whose connection is unusable and has gone
    /// back.
    pub(super) async fn another(
        &self,
        permit: OwnedSemaphorePermit,
    ) -> Result<Checkout, CheckoutFailure> {
        if self.0.is_retired.load(Ordering::Acquire) {
            return Err(CheckoutFailure::Busy);
        }
        let _waiting =
            self.0.target.admission_hook.as_ref().map(|admission_hook| admission_hook.wait_again());
        self.checkout_with(Some(permit), self.deadline()).await
    }

    fn checkout<E>(
        &self,
        free: Result<bb8::PooledConnection<'static, Manager>, E>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Checkout, CheckoutFailure> {
        match (free, permit) {
            (Ok(connection), Some(permit)) => {
                Ok(Checkout { connection, permit, pool: self.clone() })
            }
            _ => Err(CheckoutFailure::Busy),
        }
    }

    async fn checkout_with(
        &self,
        mut permit: Option<OwnedSemaphorePermit>,
        deadline: tokio::time::Instant,
    ) -> Result<Checkout, CheckoutFailure> {
        let mut asking = std::pin::pin!(self.0.pool.get_owned());
        // The usual case, a free connection, needs no timer and no watch for failures. A connection
        // that is not ready at once is awaited below, because a ping must not be cancelled.
        if permit.is_some()
            && let Some(free) = asking.as_mut().now_or_never()
        {
            self.0.autosize.waited(Duration::ZERO);
            return self.checkout(free, permit);
        }
        let start = Instant::now();
        let _waiting = Waiting::new(&self.0.waiting);
        if permit.is_none() {
            permit = self.permit(deadline).await;
            self.0.autosize.waited(start.elapsed());
            if permit.is_none() {
                return Err(self.why_none(start));
            }
            if let Some(free) = asking.as_mut().now_or_never() {
                return self.checkout(free, permit);
            }
        }
        let wait = async {
            loop {
                let asked = Instant::now();
                let failure = tokio::select! {
                    biased;
                    free = asking.as_mut() => return self.checkout(free, permit),
                    failure = self.0.failed_connects.after(asked) => Some(failure),
                    () = tokio::time::sleep(ASK_AGAIN) => None,
                };
                match failure {
                    Some(failure)
                        if failure != ConnectFailure::Withdrawn && self.connections() == 0 =>
                    {
                        return Err(failure.into());
                    }
                    // Other connections may come back meanwhile. Another opening is requested after
                    // a moment.
                    Some(failure) if failure != ConnectFailure::Withdrawn => tokio::select! {
                        biased;
                        free = asking.as_mut() => return self.checkout(free, permit),
                        () = tokio::time::sleep(AFTER_A_FAILURE) => {}
                    },
                    Some(_) | None => {}
                }
                asking.set(self.0.pool.get_owned());
            }
        };
        match tokio::time::timeout_at(deadline, wait).await {
            Ok(Err(CheckoutFailure::Busy)) | Err(_) => Err(self.why_none(start)),
            Ok(outcome) => outcome,
        }
    }

    /// bb8 serves waiters without order; the permits in front of it are given in order. One more
    /// permit, and so one more connection, is added when waiting costs more than the connection.
    async fn permit(&self, deadline: tokio::time::Instant) -> Option<OwnedSemaphorePermit> {
        let start = Instant::now();
        let grow = || {
            let signals = &self.0.target.signals;
            self.0.autosize.grow(&self.0.permits, signals, start.elapsed());
        };
        if self.0.autosize.is_worth_another() {
            grow();
        }
        let mut permit = std::pin::pin!(self.0.permits.clone().acquire_owned());
        loop {
            let patience = tokio::time::Instant::now() + GROW_AFTER;
            tokio::select! {
                biased;
                permit = permit.as_mut() => return permit.ok(),
                () = tokio::time::sleep_until(patience.min(deadline)) => {
                    if patience >= deadline {
                        return None;
                    }
                    grow();
                }
            }
        }
    }

    /// The reason why no connection was given since `start`: no connection is left and none could
    /// be opened, or all are busy.
    fn why_none(&self, start: Instant) -> CheckoutFailure {
        self.0
            .failed_connects
            .since(start)
            .filter(|failure| *failure != ConnectFailure::Withdrawn && self.connections() == 0)
            .map_or(CheckoutFailure::Busy, CheckoutFailure::Connect)
    }

    /// Connections that exist, checked out and idle.
    pub fn connections(&self) -> u32 {
        self.0.pool.state().connections
    }

    /// Connections that are not checked out.
    pub fn idle_connections(&self) -> u32 {
        self.0.pool.state().idle_connections
    }

    /// Callers that wait for a connection.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Closes one idle connection that no caller waits for. `false` if there is none.
    pub fn close_idle(&self) -> bool {
        let idle = usize::try_from(self.idle_connections()).unwrap_or(usize::MAX);
        if idle <= self.waiting() {
            return false;
        }
        // If the idle connection needs a ping first, `now_or_never` returns `None`, and dropping
        // the future closes the connection.
        if let Some(Ok(mut raw_connection)) = self.0.pool.get_owned().now_or_never() {
            raw_connection.give_up();
        }
        true
    }

    /// From now on, a holder whose connection dies gets no new one.
    pub fn retire(&self) {
        self.0.is_retired.store(true, Ordering::Release);
    }

    /// Retires the pool and has the server end all its sessions, those that are checked out
    /// included. Their holders get an error.
    pub async fn end_sessions(&self) -> Result<(), ConnectFailure> {
        self.retire();
        self.0.target.end_sessions(&self.0.target.name).await
    }
}
