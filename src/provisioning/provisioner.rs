//! The provisioner: plans runs, works on those that are due, and waits for their end.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{Iterable, TransactionSession};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::create_tenant::{CreatedTenant, NewTenant};
use super::definitions::Definition;
use super::failpoints::Failpoints;
use super::hooks::Hooks;
use super::services::Services;
use super::statistics::{ProvisioningStatistics, Statistics};
use super::step_error::Refusal;
use super::worker;
use crate::clock::Clock;
use crate::configuration::ProvisioningSettings;
use crate::fleet::Fleet;
use crate::identifiers::{RunId, TenantId};
use crate::lifecycle::Lifecycle;
use crate::registry::runs::provisioning_runs::{self, Run, RunKind, RunStatus, Step, StepStatus};
use crate::registry::runs::registrations::{self, Registration};
use crate::registry::runs::run_leases::{self, ClaimFilter};
use crate::registry::tenants;
use crate::registry::{OnRegistry, Registry, RegistryError, RegistryTransaction};
use crate::sealing::SealingError;
use crate::tenant_router::TenantRouter;

/// Registrations that are accepted at once for each permit, the one in progress included. At some
/// 100 ms each, the last one in the queue waits for a few seconds.
const QUEUE_PER_PERMIT: usize = 32;
/// How often a waiting caller reads the state of a run that another process works on.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long the history of a failed registration is kept.
const FAILED_RUN_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Run kinds that share the permits of `provisioning.concurrency`. They are short: a client usually
/// waits for a new tenant, and an announcement calls one service.
const CONCURRENT_KINDS: &[RunKind] = &[RunKind::CreateTenant, RunKind::AnnounceTenant];
/// Run kinds that may take minutes: a repair migrates a schema, and a purge waits for its turn to
/// drop a database. Each has one permit of its own, so that they delay neither each other nor
/// `CONCURRENT_KINDS`.
const SINGLE_KINDS: [&[RunKind]; 2] = [&[RunKind::ReprovisionTenant], &[RunKind::PurgeTenant]];

/// Why a registration was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum StartRunError {
    /// Too many registrations are waiting.
    #[error("too many registrations are waiting")]
    Busy,
    /// The idempotency key belongs to another run.
    #[error("the idempotency key is in use")]
    KeyTaken,
    /// The run could not be recorded.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Why a run did not complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunFailure {
    /// The request could not be met.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A step had a permanent error.
    #[error("the step `{step}` failed: {reason}")]
    Broken {
        /// The name of the step.
        step: String,
        /// The error of its last attempt.
        reason: String,
    },
    /// The run continues, but this process cannot wait for it any longer.
    #[error("the run {0} is not at its end yet")]
    Unfinished(RunId),
}

/// Creates, repairs and purges tenants. Clones share the limit of concurrent runs.
#[derive(Clone)]
pub struct Provisioner {
    pub(super) services: Services,
    permits: Arc<Semaphore>,
    /// The permits of the kinds in `SINGLE_KINDS`.
    slow_permits: [Arc<Semaphore>; SINGLE_KINDS.len()],
    /// One permit for each registration that was accepted and has not ended: the limit of the queue
    /// for `permits`.
    queue: Arc<Semaphore>,
}

/// A run that is recorded, or will be when the caller's transaction commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The id for reading the run's progress.
    pub run_id: RunId,
    /// The tenant that the run concerns.
    pub tenant_id: TenantId,
    /// The member of staff that the run adds. `None` if it adds none.
    pub owner_id: Option<Uuid>,
}

/// The keyed hashes of an idempotency key and of its request. A repeated registration finds the
/// first one by its key, and must have the same request.
pub struct Idempotency {
    /// The keyed hash of the key.
    pub key_hash: Vec<u8>,
    /// The keyed hash of the request.
    pub request_hash: Vec<u8>,
}

/// A run in progress. It continues even if no caller waits for it.
pub struct Started {
    /// The run that was planned.
    pub planned: Planned,
    provisioner: Provisioner,
    work: tokio::task::JoinHandle<()>,
}

impl Started {
    /// Waits for the end of the run, whichever process works on it.
    pub async fn outcome(self) -> Result<CreatedTenant, RunFailure> {
        // Errors of the work are in the run's history.
        let _ = self.work.await;
        self.provisioner.outcome_of(self.planned).await
    }
}

impl Provisioner {
    /// Creates the provisioner. At the end of the process, `life` waits for the runs that are in
    /// progress.
    pub fn new(
        registry: Registry,
        router: TenantRouter,
        fleet: Fleet,
        settings: ProvisioningSettings,
        life: Lifecycle,
        clock: Clock,
    ) -> Result<Self, reqwest::Error> {
        let hooks = Hooks::new(settings.hooks.clone(), clock.clone())?;
        let concurrency = settings.concurrency;
        let services = Services {
            registry,
            router,
            fleet,
            hooks,
            statistics: Statistics::default(),
            settings,
            life,
            clock,
            failpoints: None,
        };
        Ok(Self {
            services,
            permits: Arc::new(Semaphore::new(concurrency)),
            slow_permits: SINGLE_KINDS.map(|_| Arc::new(Semaphore::new(1))),
            queue: Arc::new(Semaphore::new(concurrency * QUEUE_PER_PERMIT)),
        })
    }

    /// For tests: sets the failpoints of steps.
    #[must_use]
    pub fn with_failpoints(mut self, failpoints: Failpoints) -> Self {
        self.services.failpoints = Some(failpoints);
        self
    }

    /// Records a run that creates a tenant. If `db` is a transaction, the run exists after the
    /// commit. Then call [`Provisioner::begin`], or let the job claim the run.
    pub async fn plan(
        &self,
        db: &impl OnRegistry,
        new: &NewTenant,
    ) -> Result<Planned, RegistryError> {
        let process = self.services.registry.process();
        self.plan_for(db, new, process).await
    }

    /// As [`Provisioner::plan`]. `actor` is the name in the history of the run.
    pub(super) async fn plan_for(
        &self,
        db: &impl OnRegistry,
        new: &NewTenant,
        actor: &str,
    ) -> Result<Planned, RegistryError> {
        let services = &self.services;
        let tenant_id = TenantId::generate();
        let (input, owner_id) = new.as_input();
        let definition = Definition::newest(RunKind::CreateTenant);
        let plan = definition.plan(services, tenant_id, Some(&input))?;
        let run_id = plan.id;
        // A new tenant has no other run.
        let _ = plan.write(db, actor, services.clock.now()).await?;
        Ok(Planned { run_id, tenant_id, owner_id })
    }

    /// Works on a planned run in the background, as soon as a permit is free.
    pub fn begin(&self, planned: Planned) -> Started {
        let (provisioner, permits) = (self.clone(), self.permits.clone());
        let work = self.services.life.spawn_work(async move {
            let _permit = permits.acquire_owned().await;
            provisioner.work_on(planned.run_id).await;
        });
        Started { planned, provisioner: self.clone(), work }
    }

    /// Plans a tenant and starts the run. If the queue is full, fails before anything is recorded.
    /// With `idempotency`, the run and its key are recorded together or not at all.
    pub async fn start(
        &self,
        new: &NewTenant,
        idempotency: Option<&Idempotency>,
    ) -> Result<Started, StartRunError> {
        let target = self.queue.clone().try_acquire_owned().map_err(|_| StartRunError::Busy)?;
        let planned = match idempotency {
            None => self.plan(&self.services.registry.connect().await?, new).await?,
            Some(Idempotency { key_hash, request_hash }) => {
                let planned = async |transaction: &RegistryTransaction| {
                    let planned = self.plan(transaction, new).await?;
                    let owner = planned.owner_id.unwrap_or_default();
                    let (run, now) = (planned.run_id, self.services.clock.now());
                    let (key, request) = (key_hash.clone(), request_hash.clone());
                    match registrations::remember(transaction, key, request, run, owner, now)
                        .await?
                    {
                        true => Ok(planned),
                        false => Err(StartRunError::KeyTaken),
                    }
                };
                self.services.registry.transaction(planned).await?
            }
        };
        let mut started = self.begin(planned);
        let work = started.work;
        started.work = tokio::spawn(async move {
            let _place = target;
            let _ = work.await;
        });
        Ok(started)
    }

    /// The keyed hashes of a registration with this idempotency key.
    pub fn idempotency(&self, key: &str, request: &str) -> Idempotency {
        let hasher = self.services.registry.hasher();
        Idempotency { key_hash: hasher.idempotency_key(key), request_hash: hasher.request(request) }
    }

    /// The first registration with this key, whatever its request was.
    pub async fn find_registration(
        &self,
        idempotency: &Idempotency,
    ) -> Result<Option<Registration>, RegistryError> {
        let db = self.services.registry.connect().await?;
        registrations::find(&db, &idempotency.key_hash, self.services.clock.now()).await
    }

    /// Frees the key of a registration that failed for internal reasons, so that the next request
    /// with this key starts a new run.
    pub async fn free_key(
        &self,
        idempotency: &Idempotency,
        failed: &Registration,
    ) -> Result<(), RegistryError> {
        let db = self.services.registry.connect().await?;
        registrations::free(&db, &idempotency.key_hash, failed.run_id).await
    }

    /// Deletes expired keys of registrations, and runs of failed registrations. Returns the number
    /// of deleted rows.
    pub async fn clean_up(&self) -> Result<u64, RegistryError> {
        let db = self.services.registry.connect().await?;
        let keys = registrations::forget_expired(&db, self.services.clock.now()).await?;
        Ok(keys + provisioning_runs::delete_failed_registrations(&db, FAILED_RUN_RETENTION).await?)
    }

    /// Starts the purge of a tenant that was deleted longer than `grace` ago. Returns `false` if
    /// the tenant was not deleted that long ago, or has another open run.
    pub async fn begin_purge(&self, id: TenantId, grace: Duration) -> Result<bool, RegistryError> {
        let (services, now) = (&self.services, self.services.clock.now());
        let plan = Definition::newest(RunKind::PurgeTenant).plan(services, id, None)?;
        let transaction = services.registry.begin().await?;
        let is_due = tenants::begin_purge(&transaction, id, grace, now).await?;
        if is_due && plan.write(&transaction, services.registry.process(), now).await?.is_ok() {
            transaction.commit().await?;
            tracing::info!(tenant = %id, "the time for restoring a deleted tenant is over; it is purged");
            return Ok(true);
        }
        transaction.rollback().await?;
        Ok(false)
    }

    /// Claims the due runs for which permits are free, and works on them in the background. Returns
    /// their number. Also closes idle administration connections.
    pub async fn work_due(&self) -> Result<usize, RegistryError> {
        self.services.fleet.admin_pool().close_idle().await;
        let mut taken = 0;
        let slow = self.slow_permits.iter().zip(SINGLE_KINDS);
        for (permits, kinds) in [(&self.permits, CONCURRENT_KINDS)].into_iter().chain(slow) {
            let due = ClaimFilter { run: None, known: &Definition::known(kinds) };
            while !self.services.life.is_stopping()
                && let Ok(permit) = permits.clone().try_acquire_owned()
                && self.claim_and_spawn(due, permit).await?
            {
                taken += 1;
            }
        }
        Ok(taken)
    }

    async fn claim_and_spawn(
        &self,
        due: ClaimFilter<'_>,
        permit: OwnedSemaphorePermit,
    ) -> Result<bool, RegistryError> {
        let Some((claim, run)) = self.claim(due).await? else { return Ok(false) };
        let services = self.services.clone();
        self.services.life.spawn_work(async move {
            let _permit = permit;
            let _ = worker::work(&services, claim, run).await;
        });
        Ok(true)
    }

    async fn claim(
        &self,
        due: ClaimFilter<'_>,
    ) -> Result<Option<(run_leases::Claim, Run)>, RegistryError> {
        let (registry, lease) = (&self.services.registry, self.services.settings.lease);
        let db = registry.connect().await?;
        run_leases::claim(&db, registry.process(), lease, due).await
    }

    /// Works on a run if it is due and no process has its lease.
    async fn work_on(&self, run: RunId) {
        let due = ClaimFilter {
            run: Some(run),
            known: &Definition::known(&RunKind::iter().collect::<Vec<_>>()),
        };
        match self.claim(due).await {
            Ok(Some((claim, run))) => {
                let _ = worker::work(&self.services, claim, run).await;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%run, %error, "a run could not be taken up; a job will"),
        }
    }

    /// Waits for the end of a run, and works on it if no other process does.
    async fn outcome_of(&self, planned: Planned) -> Result<CreatedTenant, RunFailure> {
        loop {
            if let Ok(Some((run, steps))) = self.progress(planned.run_id).await
                && !run.status.is_open()
            {
                let Planned { tenant_id, owner_id, .. } = planned;
                return match run.status {
                    RunStatus::Completed => Ok(CreatedTenant { tenant_id, owner_id }),
                    _ => Err(failure_of(&run, &steps)),
                };
            }
            tokio::select! {
                () = self.services.life.stopping() => return Err(RunFailure::Unfinished(planned.run_id)),
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                let _permit = permit;
                self.work_on(planned.run_id).await;
            }
        }
    }

    /// Starts a planned run and waits for its end.
    pub async fn finish(&self, planned: Planned) -> Result<CreatedTenant, RunFailure> {
        self.begin(planned).outcome().await
    }

    /// Reads the number of open runs from the registry.
    pub async fn refresh_statistics(&self) -> Result<(), RegistryError> {
        let db = self.services.registry.connect().await?;
        self.services.statistics.set_open(provisioning_runs::open_runs(&db).await?);
        Ok(())
    }

    /// The state of the runs, for metrics.
    pub fn statistics(&self) -> ProvisioningStatistics {
        self.services.statistics.view()
    }

    /// The row and the steps of a run. `None` if there is no such run.
    pub async fn progress(&self, id: RunId) -> Result<Option<(Run, Vec<Step>)>, RegistryError> {
        let db = self.services.registry.connect().await?;
        provisioning_runs::find(&db, id).await
    }
}

/// The reason of a failed run.
pub fn failure_of(run: &Run, steps: &[Step]) -> RunFailure {
    if let Some(refusal) = run.error_code.as_deref().and_then(Refusal::of_code) {
        return refusal.into();
    }
    let failed = steps.iter().rev().find(|step| step.status != StepStatus::Pending);
    RunFailure::Broken {
        step: failed.map(|step| step.name.clone()).unwrap_or_default(),
        reason: failed.and_then(|step| step.last_error.clone()).unwrap_or_default(),
    }
}

impl From<SealingError> for StartRunError {
    fn from(error: SealingError) -> Self {
        Self::Registry(error.into())
    }
}
