//! Ends server processes together with this process. The kernel closes our pipes however this
//! process ends, and small shells wait for that.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeWriter};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::account::ServerAccount;
use crate::directory::{Claim, Layout};
use crate::error::{ClusterError, io_error};

const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Runs its arguments as a program, and signals it when a line (the signal's name) or the end of
/// its input arrives.
///
/// The signal is repeated, because a program that has only just been forked still ignores it. A
/// shell gives background commands no input, hence descriptor 4. Descriptor 3 keeps a `Remover`
/// waiting, also when only the server is left. Descriptors 5 to 9 may be inherited from the process
/// that started us.
const GUARD: &str = r#"
trap '' HUP INT QUIT TERM
exec 3>&1 4<&0 >&2 </dev/null 5<&- 6<&- 7<&- 8<&- 9<&-
"$@" 3>&3 4<&- &
server=$!
{
    read -r signal || signal=INT
    while kill -s "$signal" "$server"; do sleep 1 3>&-; done
} <&4 >/dev/null 2>&1 &
watcher=$!
exec 4<&-
wait "$server"
status=$?
kill -s KILL "$watcher"
exit "$status"
"#;

/// Waits until no process holds the other end of its input, then deletes the directory.
const REMOVER: &str = r#"
trap '' HUP INT QUIT TERM
while read -r _; do :; done
rm -rf -- "$1"
"#;

/// How a server is stopped.
#[derive(Clone, Copy)]
pub(crate) enum StopMode {
    /// Rolls back open transactions, writes a checkpoint, and ends.
    Fast,
    /// Ends at once. The next start recovers.
    Immediate,
}

/// A running program that ends when this value is dropped or this process ends.
pub(crate) struct Guard {
    shell: Child,
}

impl Guard {
    /// `log` gets all output. `remover` also waits for this program.
    pub(crate) fn spawn(
        program: &Path,
        arguments: Vec<OsString>,
        account: &ServerAccount,
        log: File,
        remover: Option<&Remover>,
    ) -> Result<Guard, ClusterError> {
        let failed = || io_error("run", program);
        let hold = match remover {
            Some(remover) => Stdio::from(remover.hold.try_clone().map_err(failed())?),
            None => Stdio::null(),
        };
        let mut command = shell(GUARD);
        command.arg(program).args(arguments).stdin(Stdio::piped()).stdout(hold).stderr(log);
        account.apply(&mut command);
        Ok(Guard { shell: command.spawn().map_err(failed())? })
    }

    /// The program's exit status. `None` if it is still running.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.shell.try_wait()
    }

    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        // `Child::wait` closes the input first, which would stop the program.
        let input = self.shell.stdin.take();
        let status = self.shell.wait().await;
        drop(input);
        status
    }

    /// Ends the program and waits until it has ended.
    pub(crate) async fn stop(
        mut self,
        mode: StopMode,
        layout: &Layout,
    ) -> Result<(), ClusterError> {
        if let (StopMode::Immediate, Some(input)) = (mode, &mut self.shell.stdin)
            && let Err(error) = input.write_all(b"QUIT\n").await
        {
            tracing::debug!(%error, "the server had ended before it was told to");
        }
        drop(self.shell.stdin.take());
        wait_for_end(&mut self.shell, layout).await
    }
}

/// Deletes a temporary cluster when this process and all its servers have ended.
pub(crate) struct Remover {
    shell: Child,
    hold: PipeWriter,
}

impl Remover {
    pub(crate) fn spawn(layout: &Layout, claim: &Claim) -> Result<Remover, ClusterError> {
        let failed = || io_error("guard", layout.root());
        let (end, hold) = io::pipe().map_err(failed())?;
        let mut command = shell(REMOVER);
        // Sharing the claim excludes other processes from the directory until it is deleted.
        command.arg(layout.root()).stdin(end).stdout(claim.share()?).stderr(Stdio::null());
        Ok(Remover { shell: command.spawn().map_err(failed())?, hold })
    }

    /// Lets the remover delete the directory, and waits for that.
    pub(crate) async fn finish(self, layout: &Layout) -> Result<(), ClusterError> {
        let Remover { mut shell, hold } = self;
        drop(hold);
        wait_for_end(&mut shell, layout).await
    }
}

/// In a process group of its own, so that Ctrl-C reaches only this process, which decides when the
/// server stops.
fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "narthex-guard"]).process_group(0).current_dir("/");
    // The server needs none of our settings or secrets, and PG* variables would change how it
    // starts.
    command.env_clear().env("LC_ALL", "C");
    for kept in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

async fn wait_for_end(shell: &mut Child, layout: &Layout) -> Result<(), ClusterError> {
    match timeout(STOP_LIMIT, shell.wait()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(io_error("stop the server of", layout.root())(source)),
        Err(_) => {
            Err(ClusterError::StopTimedOut { seconds: STOP_LIMIT.as_secs(), log: layout.log() })
        }
    }
}
