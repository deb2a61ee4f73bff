//! Start, drain, stop: one object that every long-lived task hangs on.
//!
//! The end comes in two stages. At the *drain* readiness fails; whatever a request needs goes on, because requests still
//! come. At the *stop*, once the last of them has been answered, loops end. What is not finished then is written down
//! and goes on elsewhere.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Clones share the same life.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    drain: CancellationToken,
    stop: CancellationToken,
    failed: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// A life that has just begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the drain: readiness fails, requests are served a while longer.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Has the drain begun?
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Resolves when nobody new should be let in: `delay` after the drain has begun, or at once at the stop.
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

    /// Stops: loops end. What still drains is cut short to the requests in flight.
    pub fn stop(&self) {
        self.drain.cancel();
        self.stop.cancel();
    }

    /// Resolves when loops should end.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Has the stop come?
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Did a task that should run for ever end by itself?
    pub fn has_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Runs a task that must live as long as the process: ending before the stop, or panicking, stops the
    /// whole process with a failure, because a gateway without one of its loops is broken in silence. For the same
    /// reason without a drain.
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

    /// Runs work that was promised to somebody and should be finished before the process ends, even if the
    /// client that asked for it goes away.
    pub fn spawn_work<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tasks.spawn(work)
    }

    /// Waits until every task has ended, at most `deadline`. `false`: some had to be left behind.
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
        let nearly = delay - Duration::from_millis(1);
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
