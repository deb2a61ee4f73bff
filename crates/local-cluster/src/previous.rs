//! Leftovers of an earlier run: a server that is still stopping, a server without a guard, or a
//! stale `postmaster.pid`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::directory::Layout;
use crate::error::{ClusterError, io_error};
use crate::pid_file::PidFile;

const WAIT_LIMIT: Duration = Duration::from_secs(30);
const LOG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Waits until no earlier process of this cluster lives, stopping its server if there is one, and
/// returns the log.
///
/// The log is locked, and every process of the server gets it as its standard error. So the kernel
/// can tell whether one of them is left. Process ids cannot tell this, because they are reused.
pub(crate) async fn end(layout: &Layout) -> Result<File, ClusterError> {
    let log = open_log(layout)?;
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        let free = try_lock(&log, layout)?;
        // Also finds a server that was started by hand, which does not hold our log.
        let server =
            PidFile::read(layout).and_then(|file| file.pid()).filter(|pid| serves(*pid, layout));
        match server {
            None if free => break,
            None => {}
            Some(server) => {
                if let Err(error) = kill(server, Signal::SIGINT) {
                    tracing::debug!(%error, %server, "the earlier server ended by itself");
                }
            }
        }
        if Instant::now() > deadline {
            let data_dir = layout.root().to_owned();
            return Err(ClusterError::StillRunning { data_dir, seconds: WAIT_LIMIT.as_secs() });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    remove_misleading_pid_file(layout)?;
    Ok(log)
}

fn open_log(layout: &Layout) -> Result<File, ClusterError> {
    let path = layout.log();
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("open", &path))
}

fn try_lock(log: &File, layout: &Layout) -> Result<bool, ClusterError> {
    match log.try_lock() {
        Ok(()) => {
            let path = layout.log();
            if log.metadata().map_err(io_error("read", &path))?.len() > LOG_LIMIT_BYTES {
                log.set_len(0).map_err(io_error("shorten", &path))?;
            }
            Ok(true)
        }
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &layout.log())(source)),
    }
}

/// True if this process is the server of our cluster.
fn serves(pid: Pid, layout: &Layout) -> bool {
    let cluster = layout.cluster();
    if working_dir(pid).is_some_and(|dir| dir == cluster) {
        return true;
    }
    let command = command(pid);
    command.split('\0').any(|argument| cluster.to_str() == Some(argument))
}

/// The working directory of a process, which for a server is its data directory. `None` outside
/// Linux, and for root in a container, which may not inspect processes of other accounts.
fn working_dir(pid: Pid) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// The program and its arguments, each followed by a zero byte.
fn command(pid: Pid) -> String {
    if cfg!(target_os = "linux") {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        return String::from_utf8_lossy(&command).into_owned();
    }
    let ps = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
    let command = ps.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&command).replace(' ', "\0")
}

/// PostgreSQL removes the file of a dead server itself, but refuses to start if another program has
/// got its process id. The file is kept if that program may be a server of this cluster that was
/// started by hand.
fn remove_misleading_pid_file(layout: &Layout) -> Result<(), ClusterError> {
    let Some(pid) = PidFile::read(layout).and_then(|file| file.pid()) else {
        return Ok(());
    };
    let may_serve = working_dir(pid).is_none() && command(pid).contains("postgres");
    if kill(pid, None).is_err() || may_serve {
        return Ok(());
    }
    let path = PidFile::path(layout);
    tracing::info!(%pid, path = %path.display(), "removing the process id of a server that is gone");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
        _ => Ok(()),
    }
}
