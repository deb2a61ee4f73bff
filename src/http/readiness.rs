//! Readiness, answered from memory: a background loop checks the registry, and a request only reads
//! the result.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::lifecycle::Lifecycle;
use crate::registry::Registry;

const PERIOD: Duration = Duration::from_secs(1);

/// The result of the last check of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryCheck {
    /// No check has ended yet.
    Pending,
    /// The registry answered the last check.
    Ok,
    /// The last check failed: no answer, or an error.
    Failed,
}

/// Whether this replica should get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadinessState {
    /// Not yet: the registry has not answered for the first time.
    Starting,
    /// Yes: the registry answers.
    Ready,
    /// Not any more: the process is shutting down.
    Draining,
    /// Not now: the registry does not answer.
    Unavailable,
}

impl ReadinessState {
    /// Every state, in the order of a replica's life; for the metrics.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Ready, Self::Draining, Self::Unavailable];

    /// The stable name that the API and the metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Whether this replica should get requests. Clones share the state.
#[derive(Clone)]
pub struct Readiness {
    registry: Arc<RwLock<RegistryCheck>>,
    life: Lifecycle,
}

impl Readiness {
    pub(super) fn start(registry: Registry, life: &Lifecycle) -> Self {
        let readiness =
            Self { registry: Arc::new(RwLock::new(RegistryCheck::Pending)), life: life.clone() };
        let state = readiness.clone();
        life.spawn("readiness", async move {
            loop {
                let check = state.check(&registry).await;
                *state.registry.write() = check;
                tokio::select! {
                    () = state.life.stopping() => break,
                    () = tokio::time::sleep(PERIOD) => {}
                }
            }
        });
        readiness
    }

    /// Checks the registry, and logs if the result has changed.
    async fn check(&self, registry: &Registry) -> RegistryCheck {
        let before = self.registry();
        match registry.ping().await {
            Ok(()) => {
                if before == RegistryCheck::Failed {
                    tracing::info!("the registry answers again");
                }
                RegistryCheck::Ok
            }
            Err(error) => {
                if before != RegistryCheck::Failed {
                    tracing::warn!(%error, "the registry does not answer; this replica is not ready");
                }
                RegistryCheck::Failed
            }
        }
    }

    /// The result of the last check of the registry.
    pub fn registry(&self) -> RegistryCheck {
        *self.registry.read()
    }

    /// The state that follows from the registry and from the shutdown.
    pub fn state(&self) -> ReadinessState {
        match self.registry() {
            _ if self.life.is_draining() => ReadinessState::Draining,
            RegistryCheck::Ok => ReadinessState::Ready,
            RegistryCheck::Pending => ReadinessState::Starting,
            RegistryCheck::Failed => ReadinessState::Unavailable,
        }
    }
}
