//! Making tenants: a run of steps, each with its undo, so that a registration ends with a whole tenant or with
//! nothing but its own history.

use std::sync::Arc;

use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::clock::Clock;
use crate::configuration::ProvisioningSettings;
use crate::lifecycle::Lifecycle;
use crate::registry::provisioning_runs::{self, Run, Step};
use crate::registry::{Registry, RegistryError};
use crate::tenant_router::TenantRouter;

mod create_tenant;
mod saga;
mod steps;
pub mod template;

pub use create_tenant::{CreatedTenant, NewRegistration};
pub use saga::{Interruption, Moment, Refusal, RunFailure};

/// Registrations that may wait for each one that is worked on. At some 100 ms each, the last of the line waits for a
/// few seconds.
const LINE_PER_TURN: usize = 32;

/// Why a registration was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// Too many are waiting.
    #[error("too many registrations are waiting")]
    Busy,
    /// The process is about to end, and the work could outlive it.
    #[error("this replica is shutting down")]
    Draining,
    /// It could not be written down.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// What the steps work with.
#[derive(Clone)]
struct Tools {
    registry: Registry,
    router: TenantRouter,
    clock: Clock,
    interruption: Option<Interruption>,
}

/// Makes tenants. Clones share the limit on how many are made at once.
#[derive(Clone)]
pub struct Provisioner {
    tools: Tools,
    turns: Arc<Semaphore>,
    /// Places in the line before the turns.
    line: Arc<Semaphore>,
    life: Lifecycle,
}

/// A registration that has been accepted and goes on whether or not anybody waits for it.
pub struct Started {
    /// By this id its progress can be read.
    pub registration_id: Uuid,
    /// How it ends.
    pub outcome: tokio::task::JoinHandle<Result<CreatedTenant, RunFailure>>,
}

impl Provisioner {
    /// A provisioner whose runs `life` waits for at the end.
    pub fn new(
        registry: Registry,
        router: TenantRouter,
        settings: &ProvisioningSettings,
        life: Lifecycle,
        clock: Clock,
    ) -> Self {
        Self {
            tools: Tools { registry, router, clock, interruption: None },
            turns: Arc::new(Semaphore::new(settings.concurrency)),
            line: Arc::new(Semaphore::new(settings.concurrency * LINE_PER_TURN)),
            life,
        }
    }

    /// For tests: fails a step before or after its effect.
    #[must_use]
    pub fn interrupted_by(mut self, interruption: Interruption) -> Self {
        self.tools.interruption = Some(interruption);
        self
    }

    /// Builds the template database that tenants are copied from, if there is none for this schema yet.
    pub async fn prepare(&self) -> Result<(), RegistryError> {
        Ok(template::ensure(self.tools.registry.server()).await?)
    }

    /// Writes the run down and begins it. The work does not stop when its caller goes away.
    /// Turned away before anything is written, where the line is full or the process is about to end.
    pub async fn start(&self, registration: NewRegistration) -> Result<Started, NotStarted> {
        if self.life.is_draining() {
            return Err(NotStarted::Draining);
        }
        let place = self.line.clone().try_acquire_owned().map_err(|_| NotStarted::Busy)?;
        let run = create_tenant::plan(&self.tools, registration).await?;
        let registration_id = run.id;
        let (turns, tools) = (self.turns.clone(), self.tools.clone());
        let outcome = self.life.spawn_work(async move {
            let _place = place;
            let _turn = turns.acquire_owned().await;
            create_tenant::run(&tools, run).await
        });
        Ok(Started { registration_id, outcome })
    }

    /// How far a registration has come.
    pub async fn progress(&self, id: Uuid) -> Result<Option<(Run, Vec<Step>)>, RegistryError> {
        let db = self.tools.registry.connect().await?;
        provisioning_runs::find(&db, id).await
    }
}
