//! The file in the data directory by which other commands find a dev instance.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::CommandError;
use local_cluster::default_data_dir;

const FILE: &str = "instance.json";

/// A dev instance: its secrets, created once, and its addresses, written at each start.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Instance {
    /// The master key of the registry. Base64, 32 bytes.
    pub master_key: String,
    /// The private key that stands in for the provider's. Base64, 32 bytes.
    pub telnyx_seed: String,
    /// Password of the demo tenants' owners.
    pub demo_password: String,
    /// URL of the gateway; absent while it is down.
    pub url: Option<String>,
    /// URL of the registry; absent while it is down.
    pub registry_url: Option<String>,
}

impl Instance {
    /// Reads the instance in `directory`, if there is one.
    pub fn read(directory: &Path) -> Result<Option<Self>, CommandError> {
        let path = directory.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                CommandError::Other(format!("{} cannot be read: {e}", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(CommandError::while_doing(&format!("cannot read {}", path.display()))(error))
            }
        }
    }

    /// Writes the file, readable for its owner only. An interrupted write leaves the old file.
    pub fn write(&self, directory: &Path) -> Result<(), CommandError> {
        let (path, draft) = (directory.join(FILE), directory.join("instance.json.new"));
        let write = || {
            let bytes = serde_json::to_vec_pretty(self)?;
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)
        };
        write().map_err(CommandError::while_doing(&format!("cannot write {}", path.display())))
    }
}

/// A dev instance that is running.
pub(super) struct Running {
    pub url: String,
    pub registry_url: String,
    pub instance: Instance,
}

/// The running instance of a data directory. The error says how to start one.
pub(super) fn running(data_dir: Option<PathBuf>) -> Result<Running, CommandError> {
    let directory = data_dir.unwrap_or_else(default_data_dir);
    let instance = Instance::read(&directory)?;
    let up = instance.and_then(|instance| {
        let (url, registry_url) = (instance.url.clone()?, instance.registry_url.clone()?);
        Some(Running { url, registry_url, instance })
    });
    up.ok_or_else(|| {
        CommandError::Other(format!(
            "no dev instance runs in {}; start one with `narthex dev` (or name its --data-dir)",
            directory.display()
        ))
    })
}

/// Starts this program again in the same process, without the `PG*` variables of the shell. They
/// are about other servers, and the driver has no other way to ignore `PGOPTIONS`.
pub(super) fn drop_postgres_variables() -> Result<(), CommandError> {
    let names = std::env::vars_os().map(|(name, _)| name);
    let foreign: Vec<_> = names.filter(|name| name.as_encoded_bytes().starts_with(b"PG")).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let failed = || CommandError::while_doing("the PG* variables of the shell cannot be left out");
    let mut again = std::process::Command::new(std::env::current_exe().map_err(failed())?);
    again.args(std::env::args_os().skip(1));
    for name in foreign {
        again.env_remove(name);
    }
    Err(failed()(again.exec()))
}
