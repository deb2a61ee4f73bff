//! Start, soft stop, hard stop: one object that every long-lived task hangs on.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Clones share the same life.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    failed: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// A life that has just begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resolves when the process should stop taking new work.
    pub async fn stopping(&self) {
        self.soft.cancelled().await;
    }

    /// Has the soft stop begun?
    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Begins the soft stop: readiness fails, loops end, requests in flight finish.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Did a task that should run for ever end by itself?
    pub fn has_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Runs a task that must live as long as the process: ending before the stop, or panicking, stops the
    /// whole process with a failure, because a gateway without one of its loops is broken in silence.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let life = self.clone();
        self.tasks.spawn(async move {
            let outcome = tokio::spawn(task).await;
            if !life.soft.is_cancelled() || outcome.is_err() {
                tracing::error!(task = name, ?outcome, "a background task ended unexpectedly");
                life.failed.cancel();
                life.soft.cancel();
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
