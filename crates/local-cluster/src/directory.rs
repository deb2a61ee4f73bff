//! The data directory: its layout, its ownership, and the lock that gives it to one process.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::account::ServerAccount;
use crate::error::{ClusterError, io_error};

const DURABLE: &str = "durable";
const TEMPORARY: &str = "temporary";
const MARK: &str = "Narthex local cluster: ";

/// The paths below the data directory.
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn at(data_dir: &Path) -> Result<Layout, ClusterError> {
        let absolute = std::path::absolute(data_dir).map_err(io_error("find", data_dir))?;
        // Resolved if it exists, because the server's command line is later compared with it.
        let root = fs::canonicalize(&absolute).unwrap_or(absolute);
        Ok(Layout { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// PGDATA.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// PGDATA while `initdb` runs. It is renamed when complete, so that `cluster` is never half
    /// made.
    pub(crate) fn unfinished_cluster(&self) -> PathBuf {
        self.root.join("cluster.new")
    }

    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.root.join("socket")
    }

    pub(crate) fn password(&self) -> PathBuf {
        self.root.join("superuser-password")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("postgresql.log")
    }

    fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The major version that made the cluster, if there is one.
    pub(crate) fn made_by(&self) -> Option<u32> {
        fs::read_to_string(self.cluster().join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    /// Makes the data directory and its missing ancestors, open to the server's account.
    pub(crate) fn create_root(&mut self, account: &ServerAccount) -> Result<(), ClusterError> {
        let missing: Vec<&Path> =
            self.root.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        for dir in missing.into_iter().rev() {
            create_dir(dir, account.passage_mode())?;
        }
        self.root = fs::canonicalize(&self.root).map_err(io_error("find", &self.root))?;
        Ok(())
    }

    /// Makes a directory that belongs to the server.
    pub(crate) fn create_server_dir(
        &self,
        dir: &Path,
        account: &ServerAccount,
    ) -> Result<(), ClusterError> {
        if dir.exists() {
            return Ok(());
        }
        create_dir(dir, 0o700)?;
        account.give(dir)
    }
}

fn create_dir(dir: &Path, mode: u32) -> Result<(), ClusterError> {
    match DirBuilder::new().mode(mode).create(dir) {
        // Another start made it at the same moment. The lock decides between the two.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        made => made.map_err(io_error("create", dir))?,
    }
    // The umask may have removed permissions that the server's account needs.
    fs::set_permissions(dir, Permissions::from_mode(mode)).map_err(io_error("set the mode of", dir))
}

/// Proof that this process alone uses the data directory. The kernel releases it however the
/// process ends.
pub(crate) struct Claim {
    lock: File,
    path: PathBuf,
}

impl Claim {
    /// Fails if the directory is foreign, is of the other kind, or is claimed by another process.
    pub(crate) fn take(layout: &Layout, durable: bool) -> Result<Claim, ClusterError> {
        refuse_foreign(layout)?;
        let path = layout.lock();
        let failed = || io_error("lock", &path);
        let mut lock = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed())?;
        let in_use = || ClusterError::InUse { data_dir: layout.root().to_owned() };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(source)) => return Err(failed()(source)),
        }
        // Between `open` and here a remover may have deleted the file, and a lock on a deleted file
        // excludes no process.
        let held = lock.metadata().map_err(failed())?;
        if !fs::metadata(&path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino()))
        {
            return Err(in_use());
        }
        let wanted = if durable { DURABLE } else { TEMPORARY };
        let mut mark = String::new();
        lock.read_to_string(&mut mark).map_err(failed())?;
        if mark.is_empty() {
            lock.write_all(format!("{MARK}{wanted}\n").as_bytes()).map_err(failed())?;
        } else if mark.trim_end() != format!("{MARK}{wanted}") {
            let found = if durable { TEMPORARY } else { DURABLE };
            return Err(ClusterError::OtherKind {
                data_dir: layout.root().to_owned(),
                found,
                wanted,
            });
        }
        Ok(Claim { lock, path })
    }

    /// The same lock for a child process. It is held until both processes have released it.
    pub(crate) fn share(&self) -> Result<Stdio, ClusterError> {
        self.lock.try_clone().map(Stdio::from).map_err(io_error("lock", &self.path))
    }
}

/// A directory is ours if it is empty or its lock file has our mark. An empty lock file comes from
/// a start that was killed (or is running) between creating and marking the file; then the
/// directory holds nothing else.
fn refuse_foreign(layout: &Layout) -> Result<(), ClusterError> {
    let failed = || io_error("read", layout.root());
    let entries = fs::read_dir(layout.root()).map_err(failed())?.count();
    let ours = match fs::read_to_string(layout.lock()) {
        Ok(mark) => mark.starts_with(MARK) || (mark.is_empty() && entries <= 1),
        Err(error) if error.kind() == ErrorKind::NotFound => entries == 0,
        Err(error) if error.kind() == ErrorKind::InvalidData => false,
        Err(error) => return Err(io_error("read", &layout.lock())(error)),
    };
    if ours { Ok(()) } else { Err(ClusterError::NotOurs { data_dir: layout.root().to_owned() }) }
}
