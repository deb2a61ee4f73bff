//! One socket to a PostgreSQL server: how it is opened, when it may no longer be trusted, and how it ends.

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

/// A check that a new connection must pass before anybody gets it.
pub type OnConnect = Arc<
    dyn for<'a> Fn(&'a mut PgConnection) -> BoxFuture<'a, Result<(), ConnectFailure>> + Send + Sync,
>;

/// A statement whose caller is gone may run on for this long before its session is ended. Most are over by then.
const LET_FINISH: Duration = Duration::from_millis(200);
/// Saying goodbye to the server takes no longer.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where connections lead, and how they are opened.
#[derive(Clone)]
pub struct Target {
    /// Host, port, database, role, password, TLS.
    pub options: PgConnectOptions,
    /// What the connections are called on the server (`application_name`), each with a number behind it.
    pub name: String,
    /// Longest time for opening one, the check included.
    pub connect_timeout: Duration,
    /// Longest time for one statement as we see it. Somewhat above the server's own `statement_timeout`: it counts
    /// when the server has vanished without a word.
    pub operation_timeout: Duration,
    /// What the connection must prove first.
    pub on_connect: Option<OnConnect>,
    /// Whether and when one may be opened; where absent, always.
    pub admission_hook: Option<Arc<dyn AdmissionHook>>,
    /// Ending a session by force takes a connection of its own: so many at once, over all targets that share this.
    pub termination_permits: Arc<Semaphore>,
    /// Shared by all targets that lead to the same server.
    pub signals: Arc<ServerSignals>,
    /// Of this target's sessions.
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
        // Before it is opened: what changes meanwhile may come too late for it.
        let (deaths, renewals) = (self.signals.deaths(), self.renewals.count());
        let mut open = None;
        let opening = self.open(&mut open);
        let opened = tokio::time::timeout_at(begun + self.connect_timeout, opening).await;
        let opened = opened.unwrap_or(Err(ConnectFailure::Timeout));
        if opened.is_ok() {
            self.signals.opened_in(begun.elapsed());
        }
        let permit = match &opened {
            Ok(()) => attempt.map(|attempt| attempt.succeeded()),
            Err(failure) => attempt.map(|attempt| attempt.failed(failure)),
        };
        // One that did not pass its check may still be at it on the server: it ends as any abandoned one.
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

    /// Leaves the socket in `open` as soon as there is one.
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

    /// Has the server end the session of this name and those whose names begin with it and a slash. The role may do
    /// that with sessions of its own.
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

/// A socket, and whether its state is certain. While an operation runs it is not: whoever drops the operation
/// in the middle leaves the mark, and the socket is closed instead of lent again.
pub(super) struct RawConnection {
    /// Taken when it ends.
    open: Option<Open>,
    target: Arc<Target>,
    permit: Option<Permit>,
    dirty: Arc<AtomicBool>,
    last_used: Instant,
    /// How many connections to the server had died when this one was last used.
    deaths: u64,
    /// How often its pool's sessions had been renewed when this one was opened.
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

    /// The mark, shared with those who may have to leave it without having the socket.
    pub(super) fn uncertain_mark(&self) -> Arc<AtomicBool> {
        self.dirty.clone()
    }

    /// Takes this mark for its own. It goes on as certain as the mark says.
    pub(super) fn adopt_mark(&mut self, mark: &Arc<AtomicBool>) {
        self.dirty = mark.clone();
    }

    /// It will be closed, whatever becomes of the mark that it has shared.
    pub(super) fn part_from_mark(&mut self) {
        self.dirty = Arc::new(AtomicBool::new(true));
    }

    /// Not to be lent again when it comes back: its state is in doubt, or others need its place. One that has served
    /// nobody yet is kept for the caller it was opened for.
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

    /// It will be closed instead of going back.
    pub(super) fn give_up(&mut self) {
        self.is_surplus = true;
    }

    /// Does it remember what does not hold any more?
    pub(super) fn is_outdated(&self) -> bool {
        self.renewals != self.target.renewals.count()
    }

    /// Before it is lent: asks the server for a sign of life, if it has been idle for longer than `trusted_for`, or since
    /// before another connection to the server died.
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

    /// For how long no operation has ended well.
    pub(super) fn rested(&self) -> Duration {
        self.last_used.elapsed()
    }

    /// Is this one worth replacing where its server takes no writes?
    pub(super) fn is_due_for_renewal(&self) -> bool {
        self.target.renewals.is_due(self.renewals)
    }

    /// Tells the others what has become of this one.
    pub(super) fn learn(&self, verdict: Verdict) {
        match verdict {
            Verdict::Dead => self.target.signals.died(self.deaths),
            Verdict::Outdated => self.target.renewals.renew(self.renewals),
            _ => {}
        }
    }

    /// Notes that an operation has just ended well.
    pub(super) fn touch(&mut self) {
        self.last_used = Instant::now();
        self.deaths = self.target.signals.deaths();
    }
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        // Without a runtime the process is ending, and its sockets with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let is_certain = !self.dirty.load(Ordering::Acquire);
        runtime.spawn(close(open, is_certain, self.target.clone(), self.permit.take()));
    }
}

/// The end of a connection. The permit lives until the server has said that it does no more work for it: a statement
/// whose caller is gone is given a moment, then its session is ended.
async fn close(mut open: Open, is_certain: bool, target: Arc<Target>, permit: Option<Permit>) {
    // Any answer will do, the failure of the statement included.
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
