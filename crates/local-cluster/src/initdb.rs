//! Creates the cluster's files, once.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;

use tokio::process::Command;

use crate::error::{ClusterError, io_error};
use crate::guard::{Guard, Remover};
use crate::password::PasswordFile;
use crate::previous;
use crate::server::{PostgresProcess, length};

pub(crate) const SUPERUSER: &str = "narthex_admin";

impl PostgresProcess {
    /// Runs `initdb`, unless an earlier run has completed.
    pub(crate) async fn make_cluster(
        &self,
        password: &str,
        remover: Option<&Remover>,
    ) -> Result<(), ClusterError> {
        let cluster = self.layout.cluster();
        if cluster.exists() {
            return Ok(());
        }
        // First of all, because an `initdb` of a killed owner may still be running.
        let log = previous::end(&self.layout).await?;
        let log_start = length(&log);
        let unfinished = self.layout.unfinished_cluster();
        if unfinished.exists() {
            tracing::info!(path = %unfinished.display(), "an earlier initdb was interrupted, making the cluster again");
            fs::remove_dir_all(&unfinished).map_err(io_error("delete", &unfinished))?;
        }
        self.layout.create_server_dir(&unfinished, &self.account)?;
        let password = PasswordFile::write(&self.layout, &self.account, password)?;
        let arguments = self.initdb_arguments(&unfinished, password.path()).await;
        let mut initdb =
            Guard::spawn(&self.binaries.initdb(), arguments, &self.account, log, remover)?;
        let status = initdb.wait().await.map_err(io_error("run", &self.binaries.initdb()))?;
        if !status.success() {
            return Err(ClusterError::InitFailed { log: self.log_since(log_start) });
        }
        fs::rename(&unfinished, &cluster).map_err(io_error("create", &cluster))?;
        let root = self.layout.root();
        File::open(root).and_then(|root| root.sync_all()).map_err(io_error("write", root))
    }

    async fn initdb_arguments(&self, cluster: &Path, password: &Path) -> Vec<OsString> {
        // In the plain C locale, letters outside ASCII have no upper and lower case.
        let listed = Command::new("locale")
            .arg("-a")
            .output()
            .await
            .map(|output| output.stdout)
            .unwrap_or_default();
        let listed = String::from_utf8_lossy(&listed);
        let locale =
            listed.lines().find(|name| matches!(*name, "C.UTF-8" | "C.utf8")).unwrap_or("C");
        let mut arguments: Vec<OsString> =
            vec!["-D".into(), cluster.into(), "--pwfile".into(), password.into()];
        arguments.extend(
            [format!("--username={SUPERUSER}"), format!("--locale={locale}")].map(OsString::from),
        );
        arguments.extend(
            ["--auth=scram-sha-256", "--encoding=UTF8", "--lc-messages=C", "--no-instructions"]
                .map(OsString::from),
        );
        if !self.durable {
            arguments.push("--no-sync".into());
        }
        arguments
    }
}
