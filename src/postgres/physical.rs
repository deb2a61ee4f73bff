//! One socket to a PostgreSQL server: how it is opened, and when it may no longer be trusted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::failure::{self, ConnectFailure};

/// A check that a new connection must pass before anybody gets it.
pub type OnConnect = Arc<
    dyn for<'a> Fn(&'a mut PgConnection) -> BoxFuture<'a, Result<(), ConnectFailure>> + Send + Sync,
>;

/// Where connections lead, and how they are opened.
#[derive(Clone)]
pub struct Target {
    /// Host, port, database, role, password, TLS.
    pub options: PgConnectOptions,
    /// Longest time for opening one, the check included.
    pub connect_timeout: Duration,
    /// Longest time for one statement as we see it. Somewhat above the server's own `statement_timeout`: it counts
    /// when the server has vanished without a word.
    pub operation_timeout: Duration,
    /// What the connection must prove first.
    pub on_connect: Option<OnConnect>,
}

impl Target {
    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Physical, ConnectFailure> {
        tokio::time::timeout(self.connect_timeout, async {
            let mut socket =
                PgConnection::connect_with(&self.options).await.map_err(failure::of_connect)?;
            if let Some(check) = &self.on_connect {
                check(&mut socket).await?;
            }
            Ok(Physical::new(socket, self.operation_timeout))
        })
        .await
        .unwrap_or(Err(ConnectFailure::Timeout))
    }
}

/// A socket, and whether its state is certain. While an operation runs it is not: whoever drops the operation
/// in the middle leaves the mark, and the socket is closed instead of lent again.
pub(super) struct Physical {
    pub(super) socket: PgConnection,
    uncertain: Arc<AtomicBool>,
    last_used: Instant,
    pub(super) operation_timeout: Duration,
}

impl Physical {
    fn new(socket: PgConnection, operation_timeout: Duration) -> Self {
        let last_used = Instant::now();
        Self { socket, uncertain: Arc::default(), last_used, operation_timeout }
    }

    /// The mark, shared with those who may have to leave it without having the socket.
    pub(super) fn uncertain_mark(&self) -> Arc<AtomicBool> {
        self.uncertain.clone()
    }

    pub(super) fn is_uncertain(&self) -> bool {
        self.uncertain.load(Ordering::Acquire)
    }

    /// Asks the server for a sign of life, if the connection has been idle for longer than `trusted_for`.
    pub(super) async fn check_after(
        &mut self,
        trusted_for: Duration,
    ) -> Result<(), ConnectFailure> {
        if self.last_used.elapsed() < trusted_for {
            return Ok(());
        }
        self.uncertain.store(true, Ordering::Release);
        match tokio::time::timeout(self.operation_timeout, self.socket.ping()).await {
            Ok(answered) => answered.map_err(failure::of_connect)?,
            Err(_) => return Err(ConnectFailure::Timeout),
        }
        self.uncertain.store(false, Ordering::Release);
        self.last_used = Instant::now();
        Ok(())
    }

    /// Notes that an operation has just ended well.
    pub(super) fn touch(&mut self) {
        self.last_used = Instant::now();
    }
}
