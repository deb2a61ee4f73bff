//! The meaning of a failure: its cause, and whether the connection can be used after it.

use sea_orm::{DbErr, RuntimeErr};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Why no usable connection could be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// No answer came within the connect timeout.
    #[error("the database server did not answer in time")]
    Timeout,
    /// The server cannot be reached, is starting or is shutting down.
    #[error("the database server cannot be reached: {0}")]
    Unreachable(String),
    /// The server has no connection left for us (SQLSTATE 53300).
    #[error("the database server has no connection left: {0}")]
    TooManyConnections(String),
    /// The server has no such database, or rejects this role and password.
    #[error("the database refused the login: {0}")]
    Refused(String),
    /// The server offers no TLS, or did not prove its identity. Nothing was sent to it.
    #[error("no safe connection to the database server: {0}")]
    Insecure(String),
    /// The stored address of the server is unusable. No connection was tried.
    #[error("the database server's address is not usable: {0}")]
    BadAddress(String),
    /// The connection led to another database than expected. It is never used.
    #[error("the connection leads to the wrong database: {0}")]
    WrongIdentity(String),
    /// All permits of the server's connection budget are taken, and none came free in time.
    #[error("no connection to the database server came free in time")]
    NoPermit,
    /// No caller waits for the connection any more, so it was not tried.
    #[error("nobody waited for the connection any more")]
    Withdrawn,
    /// The last attempt failed a moment ago, and the backoff is not over.
    #[error("left alone for {} ms after a failure: {last}", .retry_after.as_millis())]
    BackingOff {
        /// The remaining time of the backoff.
        retry_after: std::time::Duration,
        /// The failure that started the backoff.
        last: Box<ConnectFailure>,
    },
}

/// SQLSTATE 23505, `unique_violation`.
const UNIQUE_VIOLATION: &str = "23505";

/// What a failed statement says about the session that it ran in. docs/architecture.md has the
/// table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The session is fine: the statement was wrong.
    Sound,
    /// The statement does not fit the state of the transaction (class 25). If this happens outside
    /// a transaction of ours, the session is not in the state that we assume.
    OutOfTransaction,
    /// The server, or the session, accepts no writes at present (25006). The statement was not
    /// executed.
    ReadOnly,
    /// The session's cached statements or plans are no longer valid. The statement was not
    /// executed.
    Outdated,
    /// The session has ended. It is unknown whether the statement was executed.
    Dead,
    /// The session may be out of step with the server. It is unknown whether the statement was
    /// executed.
    Doubtful,
}

/// The PostgreSQL function that detects an outdated prepared plan. The SQLSTATE only says "not
/// supported", and the error text is in the server's language.
const STALE_PLAN: &str = "RevalidateCachedQuery";

/// Classifies a session by the error that its statement ended with.
pub(super) fn verdict(error: &sqlx::Error) -> Verdict {
    let error = match error {
        sqlx::Error::Database(error) => error,
        // Our own limit: the statement may still run.
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            return Verdict::Doubtful;
        }
        sqlx::Error::Io(_) => return Verdict::Dead,
        _ => return Verdict::Doubtful,
    };
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else { return Verdict::Doubtful };
    if matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic) {
        return Verdict::Dead;
    }
    let code = error.code();
    match code {
        "0A000" if error.routine() == Some(STALE_PLAN) => return Verdict::Outdated,
        // An unknown prepared statement, and a prepared statement that exists already.
        "26000" | "42P05" => return Verdict::Outdated,
        "25006" => return Verdict::ReadOnly,
        _ => {}
    }
    match code.get(..2) {
        Some("25") => Verdict::OutOfTransaction,
        Some("08" | "28" | "3B" | "53" | "57" | "58" | "F0" | "XX") | None => Verdict::Doubtful,
        Some(_) => Verdict::Sound,
    }
}

/// True if the connection is still in step with the server after this error. That is so only if the
/// server itself reported an ordinary failure of the statement.
pub fn leaves_connection_certain(error: &sqlx::Error) -> bool {
    matches!(verdict(error), Verdict::Sound | Verdict::OutOfTransaction | Verdict::ReadOnly)
}

pub(super) fn of_connect(error: sqlx::Error) -> ConnectFailure {
    let text = error.to_string();
    match &error {
        sqlx::Error::Database(e) => match e.code().as_deref() {
            Some("53300") => ConnectFailure::TooManyConnections(text),
            // 28: role or password; 3D000: no such database; 42501: no CONNECT right; 55000:
            // connections not allowed.
            Some("28P01" | "28000" | "3D000" | "42501" | "55000") => ConnectFailure::Refused(text),
            // 08, 53, 57, 58, XX: the server has a fault, is starting or is stopping.
            Some(code) if !matches!(&code[..2], "08" | "53" | "57" | "58" | "XX") => {
                ConnectFailure::Refused(text)
            }
            _ => ConnectFailure::Unreachable(text),
        },
        sqlx::Error::Tls(_) => ConnectFailure::Insecure(text),
        sqlx::Error::Io(e)
            if e.get_ref().is_some_and(
                <dyn std::error::Error + std::marker::Send + std::marker::Sync + 'static>::is::<
                    rustls::Error,
                >,
            ) =>
        {
            ConnectFailure::Insecure(text)
        }
        _ => ConnectFailure::Unreachable(text),
    }
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(e))
        | DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e)) => Some(e),
        _ => None,
    }
}

/// The name of the unique constraint or index that a statement violated. `None` for any other
/// error.
pub fn violated_unique_constraint(error: &DbErr) -> Option<&str> {
    match sqlx_error(error)? {
        sqlx::Error::Database(e) if e.code().as_deref() == Some(UNIQUE_VIOLATION) => e.constraint(),
        _ => None,
    }
}

/// The SQLSTATE of the error. `None` if it was not the server that reported the failure.
pub fn sqlstate(error: &DbErr) -> Option<String> {
    match sqlx_error(error)? {
        sqlx::Error::Database(e) => e.code().map(std::borrow::Cow::into_owned),
        _ => None,
    }
}

/// True for a refusal that says nothing about the statement: the database is read-only for now
/// (25006), or transactions collided (class 40).
fn may_pass(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "25006" || code.starts_with("40"))
}

/// True if the server could not be reached, is shutting down or gave up on the statement, so that
/// the same statement may succeed later.
pub fn is_unavailable(error: &DbErr) -> bool {
    match error {
        DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => true,
        other => sqlx_error(other).is_some_and(|e| !leaves_connection_certain(e) || may_pass(e)),
    }
}
