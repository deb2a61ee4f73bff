//! The tenant's own login role.

use futures_util::FutureExt;

use super::{Context, Done, ROLE, Retries, SagaStep, StepError};
use crate::postgres::administration::Login;
use crate::registry::tenants::{Tenant, password_bound_to};
use crate::tenant_router::TENANT_GROUP;

pub(crate) const STEP: SagaStep = SagaStep {
    name: "role",
    apply: |context| apply(context).boxed(),
    undo: |context| undo(context).boxed(),
    retries: Retries::DATABASE,
};

pub(super) async fn apply(context: &Context) -> Result<Done, StepError> {
    let tenant = context.tenant().await?;
    let place = context.place_of(&tenant).await?;
    let password = password_of(context, &tenant)?;
    let sealer = context.services.registry.sealer();
    let salt = sealer.random_bytes()?;
    let mut seat = context.administer(place).await?;
    if !seat.role_exists(TENANT_GROUP).await? {
        seat.create_group(TENANT_GROUP).await?;
    }
    seat.create_login(Login {
        name: &tenant.role_name,
        group: TENANT_GROUP,
        password: &password,
        salt: &salt,
        mark: &context.services.fleet.mark(),
        connection_limit: context.services.router.role_connection_limit(),
    })
    .await?;
    seat.keep();
    Ok(Done::made(ROLE, &tenant.role_name, Some(place.row.id)))
}

fn password_of(context: &Context, tenant: &Tenant) -> Result<String, StepError> {
    let sealer = context.services.registry.sealer();
    let opened = sealer.open(&password_bound_to(context.tenant_id), &tenant.sealed_password)?;
    Ok(String::from_utf8_lossy(&opened).into_owned())
}

pub(super) async fn undo(context: &Context) -> Result<Done, StepError> {
    // Without a row nothing was made: the row comes first, and goes last.
    if let Some(tenant) = context.find_doomed().await? {
        let place = context.place_of(&tenant).await?;
        let mut seat = context.administer(place).await?;
        seat.drop_role(&tenant.role_name).await?;
        seat.keep();
    }
    Ok(Done::released(ROLE))
}
