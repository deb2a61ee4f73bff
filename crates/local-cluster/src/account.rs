//! The account that runs the server. PostgreSQL refuses to run as root, so a root owner uses an
//! unprivileged account.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

use crate::error::{ClusterError, io_error};

/// Prints the first of its arguments that cannot be entered. The kernel decides, so that access
/// lists count too.
const ENTER_EACH: &str =
    r#"for dir; do cd "$dir" 2>/dev/null || { printf '%s' "$dir"; exit 1; }; done"#;

/// The account that the server runs as.
pub(crate) enum ServerAccount {
    /// This process is not root: its own account.
    Own,
    /// This process is root: this unprivileged account.
    Other { name: String, uid: u32, gid: u32 },
}

impl ServerAccount {
    /// An existing cluster keeps the account that made it. A new one gets `postgres`, or else
    /// `nobody`.
    pub(crate) fn choose(cluster: &Path) -> Result<ServerAccount, ClusterError> {
        if !geteuid().is_root() {
            return Ok(ServerAccount::Own);
        }
        if let Ok(metadata) = fs::metadata(cluster)
            && metadata.uid() != 0
        {
            let user = User::from_uid(Uid::from_raw(metadata.uid())).ok().flatten();
            let name = user.map_or_else(|| metadata.uid().to_string(), |user| user.name);
            return Ok(ServerAccount::Other { name, uid: metadata.uid(), gid: metadata.gid() });
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| ServerAccount::Other {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })
            .ok_or(ClusterError::NoAccount)
    }

    /// The mode of the directories between the file system's root and the server's own ones.
    pub(crate) fn passage_mode(&self) -> u32 {
        match self {
            ServerAccount::Own => 0o700,
            ServerAccount::Other { .. } => 0o711,
        }
    }

    /// Makes `command` run as this account, without our supplementary groups.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let ServerAccount::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }

    /// Changes the owner of a path that this process has just made.
    pub(crate) fn give(&self, path: &Path) -> Result<(), ClusterError> {
        match self {
            ServerAccount::Own => Ok(()),
            ServerAccount::Other { uid, gid, .. } => {
                chown(path, Some(*uid), Some(*gid)).map_err(io_error("hand over", path))
            }
        }
    }

    /// Fails if this account cannot enter `dir` or one of its ancestors. Ancestors that do not
    /// exist yet are skipped.
    pub(crate) async fn check_reach(&self, dir: &Path) -> Result<(), ClusterError> {
        let ServerAccount::Other { name, .. } = self else {
            return Ok(());
        };
        let mut ancestors: Vec<&Path> =
            dir.ancestors().filter(|ancestor| ancestor.exists()).collect();
        ancestors.reverse();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", ENTER_EACH, "narthex-reach"])
            .args(ancestors)
            .current_dir("/")
            .env_clear();
        self.apply(&mut command);
        let output =
            command.output().await.map_err(io_error("check the server account's way to", dir))?;
        if output.status.success() {
            return Ok(());
        }
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).into_owned());
        Err(ClusterError::Unreachable { path, account: name.clone() })
    }
}
