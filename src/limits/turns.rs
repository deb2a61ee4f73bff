//! Work that costs more than a millisecond of a processor: off the async threads, and a few at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// How long a caller waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(3);

/// Why work was not done.
#[derive(Debug, thiserror::Error)]
pub enum NoTurn {
    /// Too much is under way; try again soon.
    #[error("too much is being computed at once")]
    Busy,
    /// It panicked.
    #[error("a computation died: {0}")]
    Died(String),
}

/// As many pieces of work at once as half of the processors, at least one: the other half is for everybody else. Clones share
/// the turns.
#[derive(Clone)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((cores / 2).max(1))))
    }
}

impl Turns {
    /// Does this on a thread for blocking work, when it is its turn.
    ///
    /// # Errors
    ///
    /// [`NoTurn::Busy`] after 3 s in the queue, [`NoTurn::Died`] when `work` panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoTurn> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.0.clone().acquire_owned())
            .await
            .map_err(|_| NoTurn::Busy)?
            .map_err(|_| NoTurn::Busy)?;
        // The turn moves into the work: a caller that gives up does not let a further piece start beside it.
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|error| NoTurn::Died(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_does_not_move_turns_callers_away() {
        let turns = Turns::default();
        let _all = turns.0.acquire_many(turns.0.available_permits() as u32).await.unwrap();
        assert!(matches!(turns.run(|| ()).await, Err(NoTurn::Busy)));
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_turn_back() {
        let turns = Turns::default();
        let before = turns.0.available_permits();
        assert!(matches!(turns.run(|| panic!("on purpose")).await, Err(NoTurn::Died(_))));
        assert_eq!(turns.0.available_permits(), before);
        assert_eq!(turns.run(|| 7).await.unwrap(), 7);
    }
}
