//! Work that takes more than a millisecond of processor time: it runs outside the async threads, a
//! few pieces at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// How long a caller waits for a permit.
const TURN_TIMEOUT: Duration = Duration::from_secs(3);

/// Reason why work was not done.
#[derive(Debug, thiserror::Error)]
pub enum NoComputePermit {
    /// No permit was free in time; the caller can try again soon.
    #[error("too much is being computed at once")]
    Busy,
    /// The work panicked.
    #[error("a computation died: {0}")]
    Died(String),
}

/// Permits for work: half as many as processors, at least one. The other half stays free for
/// requests. Clones share the permits.
#[derive(Clone)]
pub struct ComputePermits(Arc<Semaphore>);

impl Default for ComputePermits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((cores / 2).max(1))))
    }
}

impl ComputePermits {
    /// Runs `work` on a thread for blocking work, after waiting for a permit.
    ///
    /// # Errors
    ///
    /// [`NoComputePermit::Busy`] after 3 s in the queue, [`NoComputePermit::Died`] when `work`
    /// panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoComputePermit> {
        let permit = tokio::time::timeout(TURN_TIMEOUT, self.0.clone().acquire_owned())
            .await
            .map_err(|_| NoComputePermit::Busy)?
            .map_err(|_| NoComputePermit::Busy)?;
        // The permit moves into the work, so that a cancelled caller does not release it while the
        // work still runs.
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|error| NoComputePermit::Died(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_does_not_move_turns_callers_away() {
        let permits = ComputePermits::default();
        let _all = permits.0.acquire_many(permits.0.available_permits() as u32).await.unwrap();
        assert!(matches!(permits.run(|| ()).await, Err(NoComputePermit::Busy)));
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_turn_back() {
        let permits = ComputePermits::default();
        let before = permits.0.available_permits();
        assert!(matches!(
            permits.run(|| panic!("on purpose")).await,
            Err(NoComputePermit::Died(_))
        ));
        assert_eq!(permits.0.available_permits(), before);
        assert_eq!(permits.run(|| 7).await.unwrap(), 7);
    }
}
