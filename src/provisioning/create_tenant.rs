//! The steps that make a tenant, and what they know.

use secrecy::SecretString;
use uuid::Uuid;

use super::saga::{self, RunFailure, SagaStep};
use super::{Tools, steps};
use crate::identifiers::{EmailAddress, Slug, TenantId, Timezone, new_id, unguessable_id};
use crate::registry::{RegistryError, provisioning_runs};
use crate::tenant_data::roles::OWNER;
use crate::tenant_data::staff::NewStaffMember;

/// What somebody who registers has told us, checked and with the password hashed.
#[derive(Clone)]
pub struct NewRegistration {
    /// The organization's name for people.
    pub organization_name: String,
    /// A wanted slug; one is derived from the name where absent.
    pub slug: Option<Slug>,
    /// Of the organization.
    pub timezone: Timezone,
    /// Of the owner.
    pub email: EmailAddress,
    /// PHC string.
    pub password_hash: String,
    /// Of the owner.
    pub first_name: String,
    /// Of the owner.
    pub last_name: String,
}

/// What a completed run has made.
#[derive(Clone, Debug)]
pub struct CreatedTenant {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Its owner among its staff.
    pub owner_id: Uuid,
}

/// A run that is written down and about to begin.
pub(super) struct PlannedRun {
    pub id: Uuid,
    tenant_id: TenantId,
    registration: NewRegistration,
}

/// What every step can see.
pub(super) struct Context {
    pub tools: Tools,
    pub tenant_id: TenantId,
    pub registration: NewRegistration,
    pub owner: NewStaffMember,
    /// Of the tenant's database role.
    pub role_password: SecretString,
}

const STEPS: &[SagaStep<Context>] = &[
    steps::reserve::STEP,
    steps::role::STEP,
    steps::database::STEP,
    steps::identity::STEP,
    steps::owner::STEP,
    steps::activate::STEP,
];

pub(super) async fn plan(
    tools: &Tools,
    registration: NewRegistration,
) -> Result<PlannedRun, RegistryError> {
    let run = PlannedRun { id: unguessable_id(), tenant_id: TenantId::generate(), registration };
    let db = tools.registry.connect().await?;
    let names = STEPS.iter().map(|step| step.name);
    provisioning_runs::create(&db, run.id, run.tenant_id, names, tools.clock.now()).await?;
    Ok(run)
}

pub(super) async fn run(tools: &Tools, run: PlannedRun) -> Result<CreatedTenant, RunFailure> {
    let registration = run.registration;
    let password: [u8; 24] = tools
        .registry
        .sealer()
        .random_bytes()
        .map_err(|e| RunFailure::Broken { step: "plan", reason: e.to_string() })?;
    let context = Context {
        tools: tools.clone(),
        tenant_id: run.tenant_id,
        owner: NewStaffMember {
            id: new_id(),
            email: registration.email.clone(),
            password_hash: registration.password_hash.clone(),
            first_name: registration.first_name.clone(),
            last_name: registration.last_name.clone(),
            role: OWNER,
        },
        registration,
        role_password: SecretString::from(hex::encode(password)),
    };
    saga::run(tools, run.id, STEPS, &context).await?;
    Ok(CreatedTenant { tenant_id: context.tenant_id, owner_id: context.owner.id })
}
