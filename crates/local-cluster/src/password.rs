//! The superuser's password: random, created once, readable by the owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::account::ServerAccount;
use crate::directory::Layout;
use crate::error::{ClusterError, io_error};

const RANDOM_BYTES: usize = 24;

/// The cluster's password, as hexadecimal digits. Created here if there is no cluster yet.
pub(crate) fn load_or_make(layout: &Layout) -> Result<String, ClusterError> {
    let path = layout.password();
    match fs::read_to_string(&path) {
        Ok(password) => return Ok(password.trim_end().to_owned()),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(io_error("read", &path)(error));
        }
        Err(_) if layout.cluster().exists() => return Err(ClusterError::PasswordMissing { path }),
        Err(_) => {}
    }
    let password = random()?;
    // Renamed when complete: a half-written password would make the cluster inaccessible later.
    let unfinished = layout.root().join("superuser-password.new");
    write_secret(&unfinished, &password)?;
    fs::rename(&unfinished, &path).map_err(io_error("write", &path))?;
    Ok(password)
}

/// A copy that the server's account may read while `initdb` runs. Deleted on drop.
pub(crate) struct PasswordFile {
    path: PathBuf,
}

impl PasswordFile {
    pub(crate) fn write(
        layout: &Layout,
        account: &ServerAccount,
        password: &str,
    ) -> Result<Self, ClusterError> {
        let path = layout.root().join("initdb-password");
        write_secret(&path, password)?;
        let file = PasswordFile { path };
        account.give(&file.path)?;
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot delete the password copy");
        }
    }
}

/// Replaces the file that an interrupted start left, whatever its owner is.
fn write_secret(path: &Path, secret: &str) -> Result<(), ClusterError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(io_error("replace", path)(error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error("create", path))?;
    writeln!(file, "{secret}").and_then(|()| file.sync_all()).map_err(io_error("write", path))
}

fn random() -> Result<String, ClusterError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; RANDOM_BYTES];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(io_error("read", source))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
