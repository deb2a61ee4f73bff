//! Start, drain and stop of the process: one object that every long-lived task uses.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The state of the process. Clones share it.
///
/// A process ends in two stages. At the *drain*, readiness fails, but everything that a request
/// needs continues, because requests still come. At the *stop*, after the last request was
/// answered, loops end. Unfinished work is recorded in the registry, and another process continues
/// it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    drain: CancellationToken,
    stop: CancellationToken,
    failed: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// The state of a process that has just started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts the drain: readiness fails, and requests are served a while longer.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// True after the drain has started.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Resolves when no new connections should be accepted: `delay` after the start of the drain,
    /// or at once at the stop.
    pub async fn closing(&self, delay: Duration) {
        let delayed = async {
            self.drain.cancelled().await;
            tokio::time::sleep(delay).await;
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = delayed => {}
        }
    }

    /// Stops: loops end. A drain in progress is shortened to the requests in flight.
    pub fn stop(&self) {
        self.drain.cancel();
        self.stop.cancel();
    }

    /// Resolves at the stop, when loops should end.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// True after the stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// True if a task that must run until the stop ended earlier.
    pub fn has_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Runs a task that must live as long as the process. If it ends before the stop, or panics,
    /// the whole process stops without a drain and with a failure, because a gateway without one of
    /// its loops is broken without a visible sign.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let life = self.clone();
        self.tasks.spawn(async move {
            let outcome = tokio::spawn(task).await;
            if !life.is_stopping() || outcome.is_err() {
                tracing::error!(task = name, ?outcome, "a background task ended unexpectedly");
                life.failed.cancel();
                life.stop();
            }
        });
    }

    /// Runs work that should finish before the process ends, even if the client that requested it
    /// disconnects.
    pub fn spawn_work<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tasks.spawn(work)
    }

    /// Waits until all tasks have ended, for at most `deadline`. Returns `false` if tasks are still
    /// running.
    pub async fn drained(&self, deadline: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_stops_the_process_as_failed() {
        let life = Lifecycle::new();
        life.spawn("short-lived", async {});
        life.stopping().await;
        assert!(life.has_failed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_in_the_drain_has_ended_too_early() {
        let life = Lifecycle::new();
        life.drain();
        life.spawn("short-lived", async {});
        let stopped = tokio::time::timeout(Duration::from_secs(5), life.stopping()).await;
        assert!(stopped.is_ok() && life.has_failed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_door_closes_some_time_after_the_drain_has_begun_and_loops_go_on() {
        let life = Lifecycle::new();
        let delay = Duration::from_secs(5);
        let nearly = delay.checked_sub(Duration::from_millis(1)).unwrap();
        assert!(tokio::time::timeout(2 * delay, life.closing(delay)).await.is_err());
        life.drain();
        assert!(life.is_draining());
        assert!(tokio::time::timeout(nearly, life.closing(delay)).await.is_err());
        assert!(tokio::time::timeout(2 * delay, life.closing(delay)).await.is_ok());
        assert!(!life.is_stopping());
    }

    #[tokio::test(start_paused = true)]
    async fn the_stop_closes_the_door_at_once() {
        let life = Lifecycle::new();
        life.stop();
        let soon = Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, life.closing(Duration::from_secs(5))).await.is_ok());
        assert!(life.is_draining() && life.is_stopping());
    }

    #[tokio::test]
    async fn a_task_that_ends_at_the_stop_is_fine() {
        let life = Lifecycle::new();
        let inner = life.clone();
        life.spawn("loop", async move { inner.stopping().await });
        life.stop();
        assert!(life.drained(Duration::from_secs(5)).await);
        assert!(!life.has_failed());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_end_is_left_behind_at_the_deadline() {
        let life = Lifecycle::new();
        life.spawn_work(std::future::pending::<()>());
        life.stop();
        assert!(!life.drained(Duration::from_secs(5)).await);
    }
}
