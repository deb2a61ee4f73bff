//! The repair of a damaged tenant: missing parts are created, existing parts stay. Only the status
//! is ever undone, because everything that was there before belongs to the tenant.

use std::time::Duration;

use futures_util::FutureExt;
use sea_orm::ActiveEnum;

use super::{
    Context, DATABASE, Retries, SagaStep, StepError, StepOutput, database, owner_row,
    reprovision_input, role, schema, seed, without_undo,
};
use crate::fleet::{template, untouched};
use crate::postgres::administration::{Administration, DatabaseAssignment};
use crate::provisioning::input::ReprovisionInput;
use crate::registry::inbox::clerk;
use crate::registry::tenants::Status;
use crate::registry::tenants::email_index;
use crate::tenant_data::staff;

/// The tenant is not served while it is repaired.
pub(crate) const HOLD: SagaStep = SagaStep {
    name: "hold",
    apply: |context| check_lease(context).boxed(),
    undo: |context| give_up(context).boxed(),
    retries: Retries::DATABASE,
};
pub(crate) const ROLE: SagaStep = without_undo("mend_role", |context| role::apply(context).boxed());
pub(crate) const DATABASE_STEP: SagaStep =
    without_undo("mend_database", |context| mend_database(context).boxed());
pub(crate) const SCHEMA: SagaStep = SagaStep {
    // The migrations of a tenant with much data may take this long.
    retries: Retries { timeout: Duration::from_secs(30 * 60), ..Retries::DATABASE },
    ..without_undo("mend_schema", |context| mend_schema(context).boxed())
};
pub(crate) const PRESEED: SagaStep =
    without_undo("mend_preseed", |context| seed::verify_mended(context).boxed());
pub(crate) const OWNER: SagaStep =
    without_undo("mend_owner", |context| mend_owner(context).boxed());
pub(crate) const RELEASE: SagaStep = without_undo("release", |context| release(context).boxed());

/// The tenant's status after the repair.
fn former(context: &Context) -> Result<Status, StepError> {
    Ok(match reprovision_input(context)?.former() {
        Some(Status::Suspended) => Status::Suspended,
        _ => Status::Active,
    })
}

async fn check_lease(context: &Context) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    match tenant.status {
        Status::Provisioning => Ok(StepOutput::nothing_more()),
        Status::Active | Status::Suspended | Status::Failed => {
            // At the end the tenant gets the status that it had when the run was planned. A
            // suspension since then must not be lost.
            if reprovision_input(context)?.status != tenant.status.to_value() {
                return Err(StepError::Permanent("its status has changed meanwhile".to_owned()));
            }
            Ok(StepOutput::moved(tenant.status, Status::Provisioning))
        }
        other => Err(StepError::Permanent(format!("a tenant that is {other:?} cannot be mended"))),
    }
}

/// The status after a failed repair. A suspended tenant stays suspended. If the repair was
/// cancelled, the tenant gets its former status. Any other tenant becomes failed.
async fn give_up(context: &Context) -> Result<StepOutput, StepError> {
    let to = match reprovision_input(context).ok().and_then(ReprovisionInput::former) {
        Some(Status::Suspended) => Status::Suspended,
        // After a cancellation nothing says that the repair is impossible.
        Some(former) if context.is_cancelled().await? => former,
        _ => Status::Failed,
    };
    Ok(StepOutput::moved(Status::Provisioning, to))
}

async fn mend_database(context: &Context) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    let target = context.server_of(&tenant).await?;
    let mut admin = context.administer(target).await?;
    let is_there = admin.database_exists(&tenant.database_name).await?;
    let mark = context.services.fleet.mark();
    let name = tenant.database_name.as_str();
    if !is_there {
        admin.keep();
        if !reprovision_input(context)?.accept_empty {
            return Err(StepError::Permanent(format!(
                "the database {name} is missing: restore it from a backup, or accept an empty one \
                 (`narthex tenants provision` with --accept-empty-database)"
            )));
        }
        return database::apply(context).await;
    }
    // Before a role gets a right to the database, check that it is this tenant's.
    admin.open_to_administration(name).await?;
    let mut inside = target.server.connect(name).await?;
    schema::expect_ours(context, &mut inside).await?;
    if reprovision_input(context)?.accept_empty {
        expect_no_strangers(name, &mut inside).await?;
    }
    inside.close().await;
    admin
        .assign_database(&DatabaseAssignment {
            database: name,
            role: &tenant.role_name,
            mark: &mark,
        })
        .await?;
    database::drop_claimed_database(context, &mut admin).await?;
    admin.keep();
    Ok(StepOutput::made(DATABASE, name, Some(target.row.id)))
}

/// If an empty database is accepted, a database without an owner may be left from an earlier
/// attempt. If it has other content, the repair fails instead of dropping it: it may be a restored
/// backup of the tenant.
async fn expect_no_strangers(name: &str, inside: &mut Administration) -> Result<(), StepError> {
    if !schema::is_nobodys(inside).await? {
        return Ok(());
    }
    match untouched::foreign_content(inside).await? {
        foreign if foreign.is_empty() => Ok(()),
        foreign => Err(StepError::Permanent(format!(
            "the database {name} names no owner and holds what no seed has written ({foreign:?}): drop it, or mend the tenant without \
             accepting an empty database if they are the tenant's"
        ))),
    }
}

/// Applies the pending migrations, with the grants and the seed of a new tenant.
async fn mend_schema(context: &Context) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    let target = context.server_of(&tenant).await?;
    let admin = context.administer(target).await?;
    let mut inside = target.server.connect(&tenant.database_name).await?;
    schema::expect_ours(context, &mut inside).await?;
    let version = schema::bring_up_to_date(target, &tenant, &mut inside).await?;
    // This program must not grant rights that a later version has removed.
    if version == template::schema_version() {
        template::grant_and_seed(&mut inside).await?;
    }
    schema::identify(context, &mut inside).await?;
    inside.close().await;
    admin.keep();
    schema::record_version(context, &tenant, &version).await?;
    Ok(StepOutput::nothing_more())
}

/// For a tenant without staff. The address is in the index before the owner exists.
async fn mend_owner(context: &Context) -> Result<StepOutput, StepError> {
    let Some(owner) = &reprovision_input(context)?.owner else {
        return Ok(StepOutput::nothing_more());
    };
    let (db, now, row) =
        (context.tenant_db().await?, context.services.clock.now(), owner_row(owner)?);
    if staff::is_empty(db).await? {
        let hash = context.services.registry.hasher().email(&row.email);
        let registry = context.registry().await?;
        email_index::add(&registry, hash, context.tenant_id, now).await?;
        drop(registry);
        staff::add(db, &row, now).await?;
    }
    Ok(StepOutput::nothing_more())
}

async fn release(context: &Context) -> Result<StepOutput, StepError> {
    let db = context.registry().await?;
    clerk::settle_again(&db, context.tenant_id, context.services.clock.now()).await?;
    Ok(StepOutput::moved(Status::Provisioning, former(context)?))
}
