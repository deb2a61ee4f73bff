//! A private PostgreSQL cluster, made from the installed server programs and ended together with
//! this process. `narthex dev` keeps its data in one; each test run gets a temporary one.

mod account;
mod binaries;
mod directory;
mod error;
mod guard;
mod initdb;
mod password;
mod pid_file;
mod previous;
mod server;
mod settings;

use std::fmt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use account::ServerAccount;
use binaries::Binaries;
use directory::{Claim, Layout};
pub use error::ClusterError;
use guard::{Guard, Remover, StopMode};
use initdb::SUPERUSER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use server::PostgresProcess;

const HOST: &str = "127.0.0.1";
/// RFC 3986, section 2.3: all characters but the unreserved ones.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How a private cluster is made and run.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The data directory, which is created if it is missing. It must be empty or hold a cluster
    /// that was made here. As root, the server's account must be able to enter its ancestors.
    pub data_dir: PathBuf,
    /// `true` keeps the data. `false` is for tests: nothing is synced to disk, and the whole data
    /// directory is deleted when the cluster stops or its owner dies.
    pub durable: bool,
    /// The server's `max_connections`.
    pub max_connections: u32,
}

/// A running private cluster. Its server ends when this value is dropped and when this process ends
/// in any way.
pub struct LocalCluster {
    port: u16,
    password: String,
    /// `None` after a crash.
    guard: Option<Guard>,
    /// `None` for a cluster that keeps its data.
    remover: Option<Remover>,
    server: PostgresProcess,
    /// Declared last, so that it is held until the fields above are dropped.
    _claim: Claim,
}

impl LocalCluster {
    /// Creates the cluster if there is none yet, and starts its server on a free port of the
    /// loopback interface.
    ///
    /// Waits up to 30 s for an earlier server of the same directory to end, and up to 60 s for this
    /// one to be ready.
    pub async fn start(options: ClusterOptions) -> Result<LocalCluster, ClusterError> {
        let ClusterOptions { data_dir, durable, max_connections } = options;
        let mut layout = Layout::at(&data_dir)?;
        let account = ServerAccount::choose(&layout.cluster())?;
        let binaries = Binaries::find(layout.root(), layout.made_by())?;
        account.check_reach(binaries.dir()).await?;
        account.check_reach(layout.root()).await?;
        layout.create_root(&account)?;
        let claim = Claim::take(&layout, durable)?;
        let remover = if durable { None } else { Some(Remover::spawn(&layout, &claim)?) };
        let password = password::load_or_make(&layout)?;
        layout.create_server_dir(&layout.socket_dir(), &account)?;
        let server = PostgresProcess { layout, binaries, account, durable, max_connections };
        server.make_cluster(&password, remover.as_ref()).await?;
        let (guard, port) = server.start(remover.as_ref()).await?;
        Ok(LocalCluster { port, password, guard: Some(guard), remover, server, _claim: claim })
    }

    /// The address that the server listens on.
    pub fn host(&self) -> &str {
        HOST
    }

    /// The TCP port that the server listens on. It stays the same over `restart`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection URL of `database` for the superuser. It contains the password. It sets every
    /// option, because clients take missing ones from `PGSSLMODE` and similar variables.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@{HOST}:{}/{}?sslmode=disable",
            self.password,
            self.port,
            utf8_percent_encode(database, RESERVED)
        )
    }

    /// The directory that holds everything of this cluster.
    pub fn data_dir(&self) -> &Path {
        self.server.layout.root()
    }

    /// Fast shutdown: closes the connections, writes all data, and waits until the server has
    /// ended. The data directory of a temporary cluster is deleted by then, too.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        self.end_server(StopMode::Fast).await?;
        match self.remover.take() {
            Some(remover) => remover.finish(&self.server.layout).await,
            None => Ok(()),
        }
    }

    /// Ends the server at once, as a crash does: connections break and nothing more is written. The
    /// data stays for `restart`. For fault tests.
    pub async fn crash(&mut self) -> Result<(), ClusterError> {
        self.end_server(StopMode::Immediate).await
    }

    /// Starts the server again on the same port, after a crash or while it runs. For fault tests.
    pub async fn restart(&mut self) -> Result<(), ClusterError> {
        self.end_server(StopMode::Fast).await?;
        self.guard = Some(self.server.start_on(self.port, self.remover.as_ref()).await?);
        Ok(())
    }

    async fn end_server(&mut self, mode: StopMode) -> Result<(), ClusterError> {
        let Some(guard) = self.guard.take() else {
            return Ok(());
        };
        guard.stop(mode, &self.server.layout).await?;
        // If the guard alone was killed, the server may still be ending.
        previous::end(&self.server.layout).await.map(drop)
    }
}

impl fmt::Debug for LocalCluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        formatter
            .debug_struct("LocalCluster")
            .field("data_dir", &self.data_dir())
            .field("port", &self.port)
            .finish()
    }
}

/// The default data directory of `narthex dev`: `/var/lib/narthex/dev` for root, otherwise
/// `narthex/dev` below `$XDG_STATE_HOME` or `~/.local/state`.
pub fn default_data_dir() -> PathBuf {
    let user = geteuid();
    if user.is_root() {
        return PathBuf::from("/var/lib/narthex/dev");
    }
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home =
        || variable("HOME").or_else(|| User::from_uid(user).ok().flatten().map(|user| user.dir));
    variable("XDG_STATE_HOME")
        .or_else(|| home().map(|home| home.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir)
        .join("narthex/dev")
}
