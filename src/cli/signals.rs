//! SIGTERM and Ctrl-C: the first begins the drain, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};

use crate::lifecycle::Lifecycle;

/// Handles the signals for as long as the process lives.
pub(super) fn follow(life: &Lifecycle) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let life = life.clone();
    tokio::spawn(async move {
        for last in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if last {
                eprintln!("narthex: stopping at once");
                std::process::exit(1);
            }
            life.drain();
            eprintln!("narthex: finishing what is under way; a second signal stops at once");
        }
    });
    Ok(())
}
