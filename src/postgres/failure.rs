//! What a failure means: whose fault it is, and whether the connection can be trusted after it.

use sea_orm::{DbErr, RuntimeErr};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Why no usable connection could be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// Nothing answered within the connect timeout.
    #[error("the database server did not answer in time")]
    Timeout,
    /// The server cannot be reached, is starting or is shutting down.
    #[error("the database server cannot be reached: {0}")]
    Unreachable(String),
    /// The server has no connection left for us (SQLSTATE 53300).
    #[error("the database server has no connection left: {0}")]
    TooManyConnections(String),
    /// The server knows no such database, or does not take this role and password.
    #[error("the database refused the login: {0}")]
    Refused(String),
    /// The server offers no TLS, or did not prove who it is; nothing was sent to it.
    #[error("no safe connection to the database server: {0}")]
    Insecure(String),
    /// What is written down about the server leads nowhere. Nothing was tried.
    #[error("the database server's address is not usable: {0}")]
    BadAddress(String),
    /// The connection is not where it should be. Never used, whatever it would answer.
    #[error("the connection leads to the wrong database: {0}")]
    WrongIdentity(String),
    /// The connections that may be open to the server are all in use, and none came free in time.
    #[error("no connection to the database server came free in time")]
    NoPermit,
    /// Nobody waits for it any more, so that it was not tried.
    #[error("nobody waited for the connection any more")]
    Withdrawn,
    /// It failed a moment ago, and is left alone until the back-off is over.
    #[error("left alone for {} ms after a failure: {last}", .retry_after.as_millis())]
    BackingOff {
        /// The rest of the back-off.
        retry_after: std::time::Duration,
        /// What it failed of.
        last: Box<ConnectFailure>,
    },
}

/// SQLSTATE 23505.
const UNIQUE_VIOLATION: &str = "23505";

/// What a failed statement says about the session that it ran in. docs/architecture.md has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: the statement was at fault.
    Sound,
    /// A statement that does not fit the state of the transaction (class 25). Outside of a transaction of ours the
    /// session is not in the state that we think it is in.
    OutOfTransaction,
    /// The server, or the session, takes no writes at present (25006). The statement was not executed.
    ReadOnly,
    /// What the session remembers of statements does not hold any more. The statement was not executed.
    Outdated,
    /// It has ended. Whether the statement was executed is not known.
    Dead,
    /// It may be out of step with the server. Whether the statement was executed is not known.
    Doubtful,
}

/// PostgreSQL's function that finds a prepared plan outdated. The SQLSTATE says "not supported" only, and the text is in
/// the server's language.
const STALE_PLAN: &str = "RevalidateCachedQuery";

/// Judges a session by the error that its statement ended with.
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
        // An unknown prepared statement, and one that there is already.
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

/// After this error, is the connection still in step with the server? Only where the server itself reported an
/// ordinary failure of the statement.
pub fn leaves_connection_certain(error: &sqlx::Error) -> bool {
    matches!(verdict(error), Verdict::Sound | Verdict::OutOfTransaction | Verdict::ReadOnly)
}

pub(super) fn of_connect(error: sqlx::Error) -> ConnectFailure {
    let text = error.to_string();
    match &error {
        sqlx::Error::Database(e) => match e.code().as_deref() {
            Some("53300") => ConnectFailure::TooManyConnections(text),
            // 28: role or password; 3D000: no such database; 42501: no CONNECT right; 55000: connections not allowed.
            Some("28P01" | "28000" | "3D000" | "42501" | "55000") => ConnectFailure::Refused(text),
            // 08, 53, 57, 58, XX: the server is not well, or is starting or stopping.
            Some(code) if !matches!(&code[..2], "08" | "53" | "57" | "58" | "XX") => {
                ConnectFailure::Refused(text)
            }
            _ => ConnectFailure::Unreachable(text),
        },
        sqlx::Error::Tls(_) => ConnectFailure::Insecure(text),
        sqlx::Error::Io(e) if e.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => {
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

/// The name of the unique constraint or index that a statement violated, if that is what happened.
pub fn violated_unique_constraint(error: &DbErr) -> Option<&str> {
    match sqlx_error(error)? {
        sqlx::Error::Database(e) if e.code().as_deref() == Some(UNIQUE_VIOLATION) => e.constraint(),
        _ => None,
    }
}

/// SQLSTATE of the server's answer, if it was the server that reported the failure.
pub fn sqlstate(error: &DbErr) -> Option<String> {
    match sqlx_error(error)? {
        sqlx::Error::Database(e) => e.code().map(|code| code.into_owned()),
        _ => None,
    }
}

/// A refusal that says nothing of the statement: the database is read-only for now (25006), or
/// transactions collided (class 40).
fn may_pass(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "25006" || code.starts_with("40"))
}

/// Did the statement fail because the server could not be reached, is going down, or gave up on it, so that
/// the same statement may well succeed later?
pub fn is_unavailable(error: &DbErr) -> bool {
    match error {
        DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => true,
        other => sqlx_error(other).is_some_and(|e| !leaves_connection_certain(e) || may_pass(e)),
    }
}
