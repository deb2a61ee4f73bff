//! The tenant's own login role.

use futures_util::FutureExt;

use super::{Context, ROLE, Retries, SagaStep, StepError, StepOutput};
use crate::postgres::administration::Login;
use crate::registry::tenants::Tenant;
use crate::sealing::aad;
use crate::tenant_router::TENANT_GROUP;

pub(crate) const STEP: SagaStep = SagaStep {
    name: "role",
    apply: |context| apply(context).boxed(),
    undo: |context| undo(context).boxed(),
    retries: Retries::DATABASE,
};

pub(super) async fn apply(context: &Context) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    let target = context.server_of(&tenant).await?;
    let password = password_of(context, &tenant)?;
    let sealer = context.services.registry.sealer();
    let salt = sealer.random_bytes()?;
    let mut admin = context.administer(target).await?;
    if !admin.role_exists(TENANT_GROUP).await? {
        admin.create_group(TENANT_GROUP).await?;
    }
    admin
        .create_login(Login {
            name: &tenant.role_name,
            group: TENANT_GROUP,
            password: &password,
            salt: &salt,
            mark: &context.services.fleet.mark(),
            connection_limit: context.services.router.role_connection_limit(),
        })
        .await?;
    admin.keep();
    Ok(StepOutput::made(ROLE, &tenant.role_name, Some(target.row.id)))
}

fn password_of(context: &Context, tenant: &Tenant) -> Result<String, StepError> {
    let sealer = context.services.registry.sealer();
    let opened = sealer.open(&aad::tenant_password(context.tenant_id), &tenant.sealed_password)?;
    Ok(String::from_utf8_lossy(&opened).into_owned())
}

pub(super) async fn undo(context: &Context) -> Result<StepOutput, StepError> {
    // Without a row nothing was created: the row is written first and removed last.
    if let Some(tenant) = context.find_purgeable().await? {
        let target = context.server_of(&tenant).await?;
        let mut admin = context.administer(target).await?;
        admin.drop_role(&tenant.role_name).await?;
        admin.keep();
    }
    Ok(StepOutput::released(ROLE))
}
