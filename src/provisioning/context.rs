//! The data and services that the steps of one run can use.

use std::ops::{Deref, DerefMut};

use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::input::Input;
use super::services::Services;
use super::step_error::{Refusal, StepError};
use crate::identifiers::TenantId;
use crate::postgres::administration::{AdminServer, Administration};
use crate::registry::runs::provisioning_runs;
use crate::registry::runs::run_leases::{self, Claim};
use crate::registry::tenants::database_servers::{self, DatabaseServer};
use crate::registry::tenants::{self, Status, Tenant};
use crate::registry::{RegistryDb, RegistryTransaction};
use crate::tenant_router::TenantDb;

/// The run that a step belongs to.
pub(super) struct Context {
    pub services: Services,
    pub tenant_id: TenantId,
    pub claim: Claim,
    input: Option<Input>,
    admin: Mutex<Option<(DatabaseServer, Administration)>>,
    inside: Mutex<Option<Administration>>,
    target: OnceCell<TenantServer>,
    tenant_db: OnceCell<TenantDb>,
}

impl Context {
    pub fn new(
        services: Services,
        tenant_id: TenantId,
        claim: Claim,
        input: Option<Input>,
    ) -> Self {
        let (admin, inside) = (Mutex::default(), Mutex::default());
        let (target, tenant_db) = (OnceCell::new(), OnceCell::new());
        Self { services, tenant_id, claim, input, admin, inside, target, tenant_db }
    }

    /// True if the run is being undone because an operator has cancelled it.
    pub async fn is_cancelled(&self) -> Result<bool, StepError> {
        let found = provisioning_runs::find(&self.registry().await?, self.claim.run).await?;
        let code = found.and_then(|(run, _)| run.error_code);
        Ok(code.as_deref() == Some(Refusal::Cancelled.code()))
    }

    /// The input of the run. An undo must not need it: it can be deleted already.
    pub fn input(&self) -> Result<&Input, StepError> {
        let gone =
            || StepError::Permanent("what the run was planned with cannot be read".to_owned());
        self.input.as_ref().ok_or_else(gone)
    }

    pub async fn registry(&self) -> Result<RegistryDb, StepError> {
        Ok(self.services.registry.connect().await?)
    }

    /// Checks in a transaction of the registry that this process has the run's lease, and keeps the
    /// lease until the transaction ends.
    pub async fn check_lease(&self, transaction: &RegistryTransaction) -> Result<(), StepError> {
        run_leases::check_lease(transaction, &self.claim).await?.map_err(StepError::from)
    }

    /// The tenant's row, if it has one.
    pub async fn find_tenant(&self) -> Result<Option<Tenant>, StepError> {
        Ok(tenants::find(&self.registry().await?, self.tenant_id).await?)
    }

    /// The tenant's row. Fails if there is none.
    pub async fn tenant(&self) -> Result<Tenant, StepError> {
        let missing = || StepError::Permanent("the tenant has no row in the registry".to_owned());
        self.find_tenant().await?.ok_or_else(missing)
    }

    /// The tenant's row, if it has one, before its resources are removed. Fails if the tenant may
    /// be in use: no tenant that is served is undone, whatever a run says.
    pub async fn find_purgeable(&self) -> Result<Option<Tenant>, StepError> {
        let found = self.find_tenant().await?;
        match found.as_ref().map(|tenant| tenant.status) {
            None
            | Some(Status::Pending | Status::Provisioning | Status::Failed | Status::Purging) => {
                Ok(found)
            }
            Some(other) => Err(StepError::Permanent(format!(
                "the tenant is {other:?}: nothing of it is undone"
            ))),
        }
    }

    /// The server that the tenant's database is on, or will be on.
    pub async fn server_of(&self, tenant: &Tenant) -> Result<&TenantServer, StepError> {
        self.target.get_or_try_init(|| self.find_server(tenant)).await
    }

    async fn find_server(&self, tenant: &Tenant) -> Result<TenantServer, StepError> {
        let db = self.registry().await?;
        let row = database_servers::find(&db, tenant.server_id).await?;
        let row =
            row.ok_or_else(|| StepError::Permanent("its database server is unknown".to_owned()))?;
        drop(db);
        let server = self.services.fleet.server(&row)?;
        Ok(TenantServer { row, server })
    }

    /// A connection for administration of the tenant's server, under the lock of this tenant. The
    /// server holds the lock of a process that died until its last statement is over. Only after
    /// the lock the lease of the run is checked, so that a process that has lost it cannot change
    /// anything any more.
    pub async fn administer(&self, target: &TenantServer) -> Result<AdminLease<'_>, StepError> {
        let mut kept = self.admin.lock().await;
        if let Some((server, administration)) = kept.take() {
            return Ok(AdminLease { kept, server, administration });
        }
        let mut administration = match self.services.fleet.admin_pool().take(&target.row).await {
            Some(vacant) => vacant,
            None => {
                let opened = target.server.administer().await;
                self.services.fleet.health().note(target.row.id, opened.is_ok());
                opened?
            }
        };
        administration.lock_for(self.tenant_id.0).await?;
        self.still_ours().await?;
        Ok(AdminLease { kept, server: target.row.clone(), administration })
    }

    /// A connection for administration inside the tenant's database. It is the connection of the
    /// step before, if that step has left one.
    pub async fn enter(
        &self,
        target: &TenantServer,
        tenant: &Tenant,
    ) -> Result<Administration, StepError> {
        match self.inside.lock().await.take() {
            Some(left) => Ok(left),
            None => Ok(target.server.connect(&tenant.database_name).await?),
        }
    }

    /// Leaves a connection inside the tenant's database to the next step.
    pub async fn leave_inside(&self, inside: Administration) {
        *self.inside.lock().await = Some(inside);
    }

    /// Returns the run's server connection to the pool at the end of the run.
    pub async fn leave_seat(&self) {
        let kept = self.admin.lock().await.take();
        if let Some((server, administration)) = kept {
            self.services.fleet.admin_pool().give_back(&server, administration).await;
        }
    }

    /// Renews the lease of the run. Fails if another process has it.
    pub async fn still_ours(&self) -> Result<(), StepError> {
        let db = self.registry().await?;
        run_leases::renew(&db, &self.claim).await?.map_err(StepError::from)
    }

    /// Drops the cached connections and the server after a failed attempt: a connection may be
    /// broken or block the undo, and the server may have moved.
    pub fn look_again(&mut self) {
        self.inside = Mutex::default();
        self.target = OnceCell::new();
        self.tenant_db = OnceCell::new();
    }

    /// A connection of the tenant's own role, which proves that role, password, rights and identity
    /// are in order.
    pub async fn tenant_db(&self) -> Result<&TenantDb, StepError> {
        let open = || self.services.router.connect_for_provisioning(self.tenant_id);
        Ok(self.tenant_db.get_or_try_init(open).await?)
    }
}

/// A database server, as steps use it.
pub(super) struct TenantServer {
    pub row: DatabaseServer,
    pub server: AdminServer,
}

/// The run's connection to its server. It is closed when it is dropped. [`AdminLease::keep`] leaves
/// it to the next step.
pub(super) struct AdminLease<'a> {
    kept: MutexGuard<'a, Option<(DatabaseServer, Administration)>>,
    server: DatabaseServer,
    administration: Administration,
}

impl AdminLease<'_> {
    pub fn keep(mut self) {
        *self.kept = Some((self.server, self.administration));
    }
}

impl Deref for AdminLease<'_> {
    type Target = Administration;

    fn deref(&self) -> &Administration {
        &self.administration
    }
}

impl DerefMut for AdminLease<'_> {
    fn deref_mut(&mut self) -> &mut Administration {
        &mut self.administration
    }
}
