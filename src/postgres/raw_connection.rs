//! One socket to a PostgreSQL server: how it is opened, when it may no longer be used, and how it
//! ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::Semaphore;

use super::admission_hook::{AdmissionHook, Permit};
use super::failure::{self, ConnectFailure, Verdict};
use super::signals::{Renewals, ServerSignals};

/// A check that a new connection must pass before a caller gets it.
pub type OnConnect = Arc<
    dyn for<'a> Fn(&'a mut PgConnection) -> BoxFuture<'a, Result<(), ConnectFailure>> + Send + Sync,
>;

/// A statement whose caller is gone may run on for this long before its session is ended. Most
/// statements end earlier.
const LET_FINISH: Duration = Duration::from_millis(200);
/// The limit of an orderly close.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where connections lead, and how they are opened.
#[derive(Clone)]
pub struct Target {
    /// Host, port, database, role, password, TLS.
    pub options: PgConnectOptions,
    /// The name of the connections on the server (`application_name`). Each gets a number after it.
    pub name: String,
    /// The longest time for opening a connection, the check included.
    pub connect_timeout: Duration,
    /// The longest time for one statement, measured here. It is somewhat longer than the server's
    /// `statement_timeout`, and takes effect when the server does not answer at all.
    pub operation_timeout: Duration,
    /// The check that a new connection must pass.
    pub on_connect: Option<OnConnect>,
    /// Decides whether and when a connection may be opened. If it is `None`, always.
    pub admission_hook: Option<Arc<dyn AdmissionHook>>,
    /// Permits for ending a session by force, which takes a connection of its own. All targets with
    /// the same semaphore share them.
    pub termination_permits: Arc<Semaphore>,
    /// Shared by all targets that lead to the same server.
    pub signals: Arc<ServerSignals>,
    /// The renewals of this target's sessions.
    pub renewals: Arc<Renewals>,
}

impl Target {
    /// Opens a connection.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<RawConnection, ConnectFailure> {
        let attempt = match &self.admission_hook {
            Some(admission_hook) => Some(admission_hook.before_connect().await?),
            None => None,
        };
        let begun = tokio::time::Instant::now();
        // Read before the opening: a later change may come too late for this connection.
        let (deaths, renewals) = (self.signals.deaths(), self.renewals.count());
        let mut open = None;
        let opening = self.open(&mut open);
        let opened = tokio::time::timeout_at(begun + self.connect_timeout, opening).await;
        let opened = opened.unwrap_or(Err(ConnectFailure::Timeout));
        if opened.is_ok() {
            self.signals.opened_in(begun.elapsed());
        }
        let permit = match &opened {
            Ok(()) => attempt.map(super::admission_hook::Attempt::succeeded),
            Err(failure) => attempt.map(|attempt| attempt.failed(failure)),
        };
        // A connection that failed its check may still run it on the server, so it is closed like
        // an abandoned one.
        let raw_connection = open.map(|open| RawConnection {
            open: Some(open),
            target: self.clone(),
            permit,
            dirty: Arc::new(AtomicBool::new(opened.is_err())),
            last_used: Instant::now(),
            deaths,
            renewals,
            has_served: false,
            is_surplus: false,
        });
        opened?;
        raw_connection.ok_or(ConnectFailure::Timeout)
    }

    /// Puts the socket into `open` as soon as it exists.
    async fn open(&self, open: &mut Option<Open>) -> Result<(), ConnectFailure> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("{}/{}", self.name, NEXT.fetch_add(1, Ordering::Relaxed));
        let options = self.options.clone().application_name(&name);
        let socket = PgConnection::connect_with(&options).await.map_err(failure::of_connect)?;
        let open = open.insert(Open { socket, name });
        match &self.on_connect {
            Some(check) => check(&mut open.socket).await,
            None => Ok(()),
        }
    }

    /// Has the server end the session of this name, and the sessions whose names begin with it and
    /// a slash. A role may end its own sessions.
    pub(super) async fn end_sessions(&self, name: &str) -> Result<(), ConnectFailure> {
        let _permit = self.termination_permits.acquire().await;
        let end = async {
            let options = self.options.clone().application_name("narthex/ender");
            let mut socket = PgConnection::connect_with(&options).await?;
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE usename = current_user AND pid <> pg_backend_pid()
                   AND (application_name = $1 OR starts_with(application_name, $1 || '/'))",
            )
            .bind(name)
            .execute(&mut socket)
            .await?;
            socket.close().await
        };
        match tokio::time::timeout(self.connect_timeout + FAREWELL, end).await {
            Ok(ended) => ended.map_err(failure::of_connect),
            Err(_) => Err(ConnectFailure::Timeout),
        }
    }
}

struct Open {
    socket: PgConnection,
    name: String,
}

/// A socket, and whether its state is known. It is dirty while an operation runs: if the operation
/// is cancelled, it stays dirty, and the socket is closed instead of used again.
pub(super) struct RawConnection {
    /// `None` after it was taken by `drop`.
    open: Option<Open>,
    target: Arc<Target>,
    permit: Option<Permit>,
    dirty: Arc<AtomicBool>,
    last_used: Instant,
    /// The death count of the server when this connection was last used.
    deaths: u64,
    /// The renewal count of its pool when this connection was opened.
    renewals: u64,
    has_served: bool,
    is_surplus: bool,
}

impl RawConnection {
    pub(super) fn socket(&mut self) -> &mut PgConnection {
        match &mut self.open {
            Some(open) => &mut open.socket,
            None => unreachable!("only the drop takes the socket"),
        }
    }

    pub(super) fn operation_timeout(&self) -> Duration {
        self.target.operation_timeout
    }

    /// The dirty flag, shared with a session that may have to set it without having the socket.
    pub(super) fn uncertain_mark(&self) -> Arc<AtomicBool> {
        self.dirty.clone()
    }

    /// Replaces the dirty flag by this one, with its present value.
    pub(super) fn adopt_mark(&mut self, mark: &Arc<AtomicBool>) {
        self.dirty = mark.clone();
    }

    /// Marks the connection as dirty with a flag of its own. The flag that it shared does not
    /// matter any more.
    pub(super) fn part_from_mark(&mut self) {
        self.dirty = Arc::new(AtomicBool::new(true));
    }

    /// True if the connection must not be used again when it comes back: its state is unknown, or
    /// other tenants need its permit. A connection that has served no caller yet is kept for the
    /// caller it was opened for.
    pub(super) fn is_to_be_closed(&self) -> bool {
        let wanted_back = || {
            self.has_served
                && self
                    .target
                    .admission_hook
                    .as_ref()
                    .is_some_and(|admission_hook| admission_hook.is_wanted_back())
        };
        self.dirty.load(Ordering::Acquire) || self.is_surplus || wanted_back()
    }

    /// The connection will be closed instead of going back.
    pub(super) fn give_up(&mut self) {
        self.is_surplus = true;
    }

    /// True if the connection's cached state is outdated.
    pub(super) fn is_outdated(&self) -> bool {
        self.renewals != self.target.renewals.count()
    }

    /// Called before a caller gets the connection. Pings the server if the connection has been idle
    /// for longer than `trusted_for`, or since before another connection to the server died.
    pub(super) async fn check_after(
        &mut self,
        trusted_for: Duration,
    ) -> Result<(), ConnectFailure> {
        self.has_served = true;
        if self.last_used.elapsed() < trusted_for && self.deaths == self.target.signals.deaths() {
            return Ok(());
        }
        self.dirty.store(true, Ordering::Release);
        match tokio::time::timeout(self.operation_timeout(), self.socket().ping()).await {
            Ok(answered) => answered.map_err(|error| {
                self.learn(failure::verdict(&error));
                failure::of_connect(error)
            })?,
            Err(_) => return Err(ConnectFailure::Timeout),
        }
        self.dirty.store(false, Ordering::Release);
        self.touch();
        Ok(())
    }

    /// The time since the last operation that succeeded.
    pub(super) fn rested(&self) -> Duration {
        self.last_used.elapsed()
    }

    /// True if this connection is worth replacing when its server accepts no writes.
    pub(super) fn is_due_for_renewal(&self) -> bool {
        self.target.renewals.is_due(self.renewals)
    }

    /// Signals to the other connections what happened to this one.
    pub(super) fn learn(&self, verdict: Verdict) {
        match verdict {
            Verdict::Dead => self.target.signals.died(self.deaths),
            Verdict::Outdated => self.target.renewals.renew(self.renewals),
            _ => {}
        }
    }

    /// Records that an operation has just succeeded.
    pub(super) fn touch(&mut self) {
        self.last_used = Instant::now();
        self.deaths = self.target.signals.deaths();
    }
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        // Without a runtime the process is ending, and its sockets end with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let is_certain = !self.dirty.load(Ordering::Acquire);
        runtime.spawn(close(open, is_certain, self.target.clone(), self.permit.take()));
    }
}

/// Closes a connection. The permit lives until the server has confirmed that it does no more work
/// for the connection. A statement whose caller is gone gets a moment to end, then its session is
/// ended.
async fn close(mut open: Open, is_certain: bool, target: Arc<Target>, permit: Option<Permit>) {
    // Any answer is enough, the failure of the statement included.
    if !is_certain && tokio::time::timeout(LET_FINISH, open.socket.ping()).await.is_err() {
        let ending = target.end_sessions(&open.name);
        match tokio::time::timeout(target.operation_timeout, ending).await {
            Ok(Ok(())) => {}
            outcome => {
                tracing::debug!(?outcome, name = open.name, "an abandoned statement was not ended");
            }
        }
        let _ = tokio::time::timeout(target.operation_timeout, open.socket.ping()).await;
    }
    let _ = tokio::time::timeout(FAREWELL, open.socket.close()).await;
    drop(permit);
}
