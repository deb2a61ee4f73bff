//! The steps of all runs. Each step of the creation has a file; the steps of the purge share one,
//! and so do those of the repair.

pub(super) mod activate;
pub(super) mod database;
pub(super) mod external;
pub(super) mod repair;
pub(super) mod owner;
pub(super) mod seed;
pub(super) mod purge;
pub(super) mod reserve;
pub(super) mod role;
pub(super) mod schema;

use super::context::Context;
use super::input::{CreateInput, Input, OwnerInput, ReprovisionInput};
use super::saga::{Retries, SagaStep, StepOutput, nothing_to_undo, without_undo};
use super::step_error::{Refusal, StepError};
use crate::identifiers::InvalidAddress;
use crate::registry::runs::resources::{DATABASE, ROLE};
use crate::tenant_data::staff::NewStaffMember;

fn create_input(context: &Context) -> Result<&CreateInput, StepError> {
    match context.input()? {
        Input::Create(input) => Ok(input),
        other @ Input::Reprovision(_) => Err(unfit(other)),
    }
}

fn reprovision_input(context: &Context) -> Result<&ReprovisionInput, StepError> {
    match context.input()? {
        Input::Reprovision(input) => Ok(input),
        other @ Input::Create(_) => Err(unfit(other)),
    }
}

fn unfit(input: &Input) -> StepError {
    let kind = match input {
        Input::Create(_) => "create",
        Input::Reprovision(_) => "reprovision",
    };
    StepError::Permanent(format!("the run was planned with the input of another kind: {kind}"))
}

fn unreadable(error: InvalidAddress) -> StepError {
    StepError::Permanent(error.to_string())
}

/// The owner as a row of the tenant's staff.
fn owner_row(owner: &OwnerInput) -> Result<NewStaffMember, StepError> {
    Ok(NewStaffMember {
        id: owner.id,
        email: owner.email.parse().map_err(unreadable)?,
        password_hash: owner.password_hash.clone(),
        first_name: owner.first_name.clone(),
        last_name: owner.last_name.clone(),
        role: crate::tenant_data::roles::OWNER,
    })
}
