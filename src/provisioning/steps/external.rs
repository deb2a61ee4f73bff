//! The resources that hooks make for a tenant. Each is a step only if its hook is configured.

use futures_util::FutureExt;

use super::{Context, Retries, SagaStep, StepError, StepOutput, nothing_to_undo};
use crate::provisioning::hooks::{Hook, HookAction};
use crate::provisioning::saga::StepFuture;
use crate::registry::runs::resources;

const fn making(
    name: &'static str,
    apply: for<'a> fn(&'a Context) -> StepFuture<'a>,
    undo: for<'a> fn(&'a Context) -> StepFuture<'a>,
) -> SagaStep {
    SagaStep { name, apply, undo, retries: Retries::SERVICE }
}

pub(crate) const IDENTITY_REALM: SagaStep = making(
    "identity_realm",
    |context| make(context, Hook::IdentityRealm).boxed(),
    |context| release(context, Hook::IdentityRealm).boxed(),
);
pub(crate) const STORAGE: SagaStep = making(
    "storage",
    |context| make(context, Hook::Storage).boxed(),
    |context| release(context, Hook::Storage).boxed(),
);
pub(crate) const INFRASTRUCTURE: SagaStep = making(
    "infrastructure",
    |context| make(context, Hook::Infrastructure).boxed(),
    |context| release(context, Hook::Infrastructure).boxed(),
);
pub(crate) const DEPLOYMENT: SagaStep = making(
    "deployment",
    |context| make(context, Hook::Deployment).boxed(),
    |context| release(context, Hook::Deployment).boxed(),
);
pub(crate) const DNS: SagaStep = making(
    "dns",
    |context| make(context, Hook::Dns).boxed(),
    |context| release(context, Hook::Dns).boxed(),
);
pub(crate) const NOTIFY: SagaStep =
    making("notify", |context| report(context).boxed(), nothing_to_undo);

pub(crate) const RELEASE_IDENTITY_REALM: SagaStep = making(
    "release_identity_realm",
    |context| release_last(context, Hook::IdentityRealm).boxed(),
    nothing_to_undo,
);
pub(crate) const RELEASE_STORAGE: SagaStep = making(
    "release_storage",
    |context| release_last(context, Hook::Storage).boxed(),
    nothing_to_undo,
);
pub(crate) const RELEASE_INFRASTRUCTURE: SagaStep = making(
    "release_infrastructure",
    |context| release_last(context, Hook::Infrastructure).boxed(),
    nothing_to_undo,
);
pub(crate) const RELEASE_DEPLOYMENT: SagaStep = making(
    "release_deployment",
    |context| release_last(context, Hook::Deployment).boxed(),
    nothing_to_undo,
);
pub(crate) const RELEASE_DNS: SagaStep =
    making("release_dns", |context| release_last(context, Hook::Dns).boxed(), nothing_to_undo);

const HOOKS: [Hook; 6] = [
    Hook::IdentityRealm,
    Hook::Storage,
    Hook::Infrastructure,
    Hook::Deployment,
    Hook::Dns,
    Hook::Notify,
];

/// The hook that performs this step, if there is one.
pub(crate) fn made_by(step: &str) -> Option<Hook> {
    HOOKS.into_iter().find(|hook| hook.name() == step)
}

async fn make(context: &Context, hook: Hook) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    let run = context.claim.run;
    // A process that was suspended meanwhile must not create again what another process has
    // released.
    context.still_ours().await?;
    let made = context.services.hooks.call(hook, HookAction::Make, run, &tenant, None).await;
    let reference = made?.unwrap_or_else(|| tenant.slug.clone());
    Ok(StepOutput::made(hook.name(), &reference, None))
}

/// Releases the resource even if it may not exist: the response to its creation may have been lost.
async fn release(context: &Context, hook: Hook) -> Result<StepOutput, StepError> {
    if let Some(tenant) = context.find_purgeable().await? {
        let db = context.registry().await?;
        let reference = resources::reference(&db, context.tenant_id, hook.name()).await?;
        drop(db);
        let run = context.claim.run;
        let hooks = &context.services.hooks;
        let released =
            hooks.call(hook, HookAction::Release, run, &tenant, reference.as_deref()).await;
        released?;
    }
    Ok(StepOutput::released(hook.name()))
}

/// Releases the resource at the purge. Does nothing if the hook is switched off and has made
/// nothing. If it has made something, it has to release it, and the purge waits until the hook is
/// switched on again.
async fn release_last(context: &Context, hook: Hook) -> Result<StepOutput, StepError> {
    if !context.services.hooks.is_on(hook) {
        let db = context.registry().await?;
        if resources::reference(&db, context.tenant_id, hook.name()).await?.is_none() {
            return Ok(StepOutput::nothing_more());
        }
    }
    release(context, hook).await
}

async fn report(context: &Context) -> Result<StepOutput, StepError> {
    let tenant = context.tenant().await?;
    let run = context.claim.run;
    context.services.hooks.call(Hook::Notify, HookAction::Tell, run, &tenant, None).await?;
    Ok(StepOutput::nothing_more())
}
