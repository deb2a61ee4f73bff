use std::io;
use std::path::{Path, PathBuf};

/// Why a private cluster could not be made, started or stopped. Every message says what to do next.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says it")]
pub enum ClusterError {
    /// No server binaries were found in the known places.
    #[error(
        "no PostgreSQL server found: install one (`apt-get install postgresql`, or run ./scripts/setup), \
         or set NARTHEX_POSTGRES_BIN to the directory that holds `initdb` and `postgres`"
    )]
    BinariesMissing,
    /// `NARTHEX_POSTGRES_BIN` names a directory without the server binaries.
    #[error(
        "NARTHEX_POSTGRES_BIN is {}, but `initdb` and `postgres` are not there: correct it or unset it",
        dir.display()
    )]
    BinariesNotAt { dir: PathBuf },
    /// The only server found is too old or too new.
    #[error(
        "{} holds \"{found}\", but PostgreSQL 15 to 18 is needed: install one of these \
         (`apt-get install postgresql`) or set NARTHEX_POSTGRES_BIN",
        dir.display()
    )]
    UnsupportedVersion { dir: PathBuf, found: String },
    /// The cluster was made by a major version that is no longer installed.
    #[error(
        "{} was made by PostgreSQL {major}, which is not installed: install postgresql-{major}, \
         or delete the directory to begin with an empty cluster",
        data_dir.display()
    )]
    VersionNotInstalled { data_dir: PathBuf, major: u32 },
    /// Started as root on a machine without an unprivileged account.
    #[error(
        "PostgreSQL refuses to run as root and there is no account `postgres` or `nobody`: run as an ordinary user"
    )]
    NoAccount,
    /// The server's account cannot enter a directory that it needs.
    #[error(
        "PostgreSQL runs as the account `{account}`, which may not enter {}: \
         choose another data directory, or allow it with `chmod o+x {}`",
        path.display(), path.display()
    )]
    Unreachable { path: PathBuf, account: String },
    /// The directory holds files that were not created by this crate.
    #[error("{} is neither empty nor a Narthex cluster: choose another data directory", data_dir.display())]
    NotOurs { data_dir: PathBuf },
    /// A temporary cluster is deleted when it stops, so the two kinds never share a directory.
    #[error(
        "{} holds a {found} cluster, a {wanted} one was asked for: choose another data directory or delete this one",
        data_dir.display()
    )]
    OtherKind { data_dir: PathBuf, found: &'static str, wanted: &'static str },
    /// Another process uses this cluster.
    #[error("{} is in use by another process: stop that one, or choose another data directory", data_dir.display())]
    InUse { data_dir: PathBuf },
    /// The cluster exists, but its password file does not.
    #[error("{} is missing, so nobody can log in: delete its directory to begin with an empty cluster", path.display())]
    PasswordMissing { path: PathBuf },
    /// A server of an earlier run does not end.
    #[error(
        "an earlier PostgreSQL server of {} is still running after {seconds} s: end it, then try again",
        data_dir.display()
    )]
    StillRunning { data_dir: PathBuf, seconds: u64 },
    /// `initdb` failed.
    #[error("initdb failed; the end of its output:\n{log}")]
    InitFailed { log: String },
    /// The server ended before it was ready.
    #[error("PostgreSQL ended while starting; the end of its log:\n{log}")]
    StartFailed { log: String },
    /// Another program listens on the port.
    #[error("port {port} on 127.0.0.1 was taken by another program: try again")]
    PortTaken { port: u16 },
    /// The server runs, but does not accept connections yet.
    #[error("PostgreSQL was not ready after {seconds} s; the end of its log:\n{log}")]
    NotReady { seconds: u64, log: String },
    /// The server did not finish its shutdown.
    #[error("PostgreSQL did not stop within {seconds} s; it keeps trying, see {}", log.display())]
    StopTimedOut { seconds: u64, log: PathBuf },
    /// A file or process operation failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// For `map_err`: names the failed operation and its path.
pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    move |source| ClusterError::Io { doing, path: path.to_owned(), source }
}
