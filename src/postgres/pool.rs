//! A bounded set of connections to one database under one role, on bb8.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::autosize::{Autosize, GROW_AFTER};
use super::failure::ConnectFailure;
use super::raw_connection::{RawConnection, Target};

/// A connection that worked this recently is lent without asking the server first: the question would cost a
/// round trip for each request.
const TRUSTED_FOR: Duration = Duration::from_secs(5);
/// An opening that failed is tried again after this long by those who still wait.
const AFTER_A_FAILURE: Duration = Duration::from_millis(200);
/// Whoever waits longer asks anew, in case that bb8 has told somebody else of what came free.
const ASK_AGAIN: Duration = Duration::from_secs(1);

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
    target: Arc<Target>,
}

/// What happened to a connection behind the pool's back.
#[derive(Debug)]
pub(super) enum ConnectionError {
    /// It could not be opened.
    NotOpened(ConnectFailure),
    /// It gave no sign of life, and another one is opened instead.
    Dead(ConnectFailure),
    /// What it remembers does not hold any more, and another one is opened instead.
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

/// bb8 tells a caller who waits nothing of a connection that could not be opened; this does.
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

/// bb8 calls this when it no longer counts on the failed attempt: whoever asks from then on makes another.
impl bb8::ErrorSink<ConnectionError> for FailedConnects {
    fn sink(&self, error: ConnectionError) {
        match error {
            ConnectionError::NotOpened(failure) => {
                match failure {
                    // Said when it began, or no fault of the server.
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

/// A connection on its way to its holder.
pub struct Checkout {
    pub(super) connection: bb8::PooledConnection<'static, Manager>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) pool: Pool,
}

/// Lends connections. Clones share the connections; they close when the last clone and the last lease are gone.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    pool: bb8::Pool<Manager>,
    target: Arc<Target>,
    failed_connects: FailedConnects,
    acquire_timeout: Duration,
    /// One for each connection that there may be at present.
    permits: Arc<Semaphore>,
    autosize: Autosize,
    waiting: AtomicUsize,
    /// Holders whose connections die get no others.
    is_retired: AtomicBool,
}

/// Counts a caller among those who wait.
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
    /// Opens the pool by way of its first connection, so that a server that cannot be reached is known at once.
    pub async fn open(target: Target, limits: &PoolLimits) -> Result<Self, ConnectFailure> {
        let pool = Self::build(Arc::new(target), limits);
        pool.0.target.signals.opens_first();
        let first =
            pool.0.pool.dedicated_connection().await.map_err(ConnectionError::into_failure)?;
        // A fresh pool has room for its first connection; were it full or the socket broken already, the
        // next checkout would open another.
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
            // Whoever asks next tries again; nobody waits for the pauses between attempts in the background.
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

    /// The moment at which a caller who comes now has waited as long as the pool lets anybody wait.
    pub(super) fn deadline(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.0.acquire_timeout
    }

    /// A connection that has no holder yet, for those who come first first; the acquire timeout of the pool is the
    /// upper bound of the deadline. Where no connection is left that could come back, the failure to open one is told
    /// at once.
    pub async fn checkout_before(
        &self,
        deadline: tokio::time::Instant,
    ) -> Result<Checkout, CheckoutFailure> {
        let permit = self.0.permits.clone().try_acquire_owned().ok();
        self.checkout_with(permit, deadline).await
    }

    /// A connection for the holder of this turn, whose own is of no use any more and has gone back.
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
        // The usual case, a free connection, needs no timer and no watch for failures. What is not ready at once is
        // waited for below: a connection that is asked for a sign of life must not be dropped in the middle of it.
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
                    // Others may come back meanwhile; another opening is asked for after a moment.
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

    /// bb8 lends to whoever asks at the right moment; the line in front of it is in order. It is lengthened by another
    /// turn, and with it by another connection, when waiting costs more than that.
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

    /// Nothing was lent since `start`: where no connection is left, because none could be opened.
    fn why_none(&self, start: Instant) -> CheckoutFailure {
        self.0
            .failed_connects
            .since(start)
            .filter(|failure| *failure != ConnectFailure::Withdrawn && self.connections() == 0)
            .map_or(CheckoutFailure::Busy, CheckoutFailure::Connect)
    }

    /// Connections that exist, lent and idle.
    pub fn connections(&self) -> u32 {
        self.0.pool.state().connections
    }

    /// Connections that wait to be lent.
    pub fn idle_connections(&self) -> u32 {
        self.0.pool.state().idle_connections
    }

    /// Callers who wait for a connection.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Closes one idle connection that nobody waits for. `false` where there is none.
    pub fn close_idle(&self) -> bool {
        let idle = usize::try_from(self.idle_connections()).unwrap_or(usize::MAX);
        if idle <= self.waiting() {
            return false;
        }
        // One that would have to be asked for a sign of life first is closed by not waiting for it.
        if let Some(Ok(mut raw_connection)) = self.0.pool.get_owned().now_or_never() {
            raw_connection.give_up();
        }
        true
    }

    /// From now on a holder whose connection dies gets no other.
    pub fn retire(&self) {
        self.0.is_retired.store(true, Ordering::Release);
    }

    /// Retires the pool and has the server end every session of it, the lent ones included: their holders meet an error.
    pub async fn end_sessions(&self) -> Result<(), ConnectFailure> {
        self.retire();
        self.0.target.end_sessions(&self.0.target.name).await
    }
}
