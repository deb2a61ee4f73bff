//! Reserves the tenant's row, slug, owner's address and server in one transaction, so that
//! concurrent registrations cannot both win.

use futures_util::FutureExt;
use sea_orm::{TransactionSession, TransactionTrait};

use super::{Context, Refusal, Retries, SagaStep, StepError, StepOutput, create_input, unreadable};
use crate::fleet::template;
use crate::identifiers::{EmailAddress, Slug, Timezone};
use crate::provisioning::services::Services;
use crate::provisioning::unproven;
use crate::registry::tenants::database_servers;
use crate::registry::tenants::email_index::{self, EmailTaken};
use crate::registry::tenants::unproven_tenants;
use crate::registry::tenants::{self, NewTenant, SlugTaken, USUAL_PLAN};
use crate::sealing::aad;

/// Slugs with a suffix that are tried before the attempt fails.
const SLUG_ATTEMPTS: usize = 8;

pub(crate) const STEP: SagaStep = SagaStep {
    name: "reserve",
    apply: |context| apply(context).boxed(),
    undo: |context| undo(context).boxed(),
    retries: Retries::DATABASE,
};

async fn apply(context: &Context) -> Result<StepOutput, StepError> {
    let input = create_input(context)?;
    let wanted: Option<Slug> =
        input.slug.as_deref().map(str::parse).transpose().map_err(unreadable)?;
    let base = wanted.or_else(|| Slug::derive(&input.organization_name));
    let mut slug = match base.clone() {
        Some(slug) => slug,
        None => fallback()?,
    };
    let mut address_was_freed = false;
    for _ in 0..SLUG_ATTEMPTS {
        match reserve(context, slug.clone()).await {
            Err(StepError::Refused(Refusal::EmailTaken))
                if !address_was_freed && free_address(context).await? =>
            {
                address_was_freed = true;
            }
            Err(error) => return Err(error),
            Ok(Ok(())) => return Ok(StepOutput::nothing_more()),
            Ok(Err(SlugTaken)) if !input.slug_is_a_wish => return Err(Refusal::SlugTaken.into()),
            Ok(Err(SlugTaken)) => {
                slug = match &base {
                    Some(base) => base.with_suffix(),
                    None => fallback()?,
                };
            }
        }
    }
    Err(StepError::Transient("no free slug was found".to_owned()))
}

/// True if another registration had the address and has given it up.
async fn free_address(context: &Context) -> Result<bool, StepError> {
    let Some(owner) = &create_input(context)?.owner else { return Ok(false) };
    let email: EmailAddress = owner.email.parse().map_err(unreadable)?;
    let hash = context.services.registry.hasher().email(&email);
    let Services { registry, router, .. } = &context.services;
    Ok(unproven::free_address(registry, router, &hash).await?)
}

/// A slug for a name without any usable letter.
fn fallback() -> Result<Slug, StepError> {
    let plain: Slug = "organization".parse().map_err(unreadable)?;
    Ok(plain.with_suffix())
}

async fn reserve(context: &Context, slug: Slug) -> Result<Result<(), SlugTaken>, StepError> {
    let (services, input) = (&context.services, create_input(context)?);
    let (now, id) = (services.clock.now(), context.tenant_id);
    let sealer = services.registry.sealer();
    let password = hex::encode(sealer.random_bytes::<24>()?);
    let timezone: Timezone = input.timezone.parse().map_err(unreadable)?;
    let db = context.registry().await?;
    let transaction = db.begin().await?;
    context.check_lease(&transaction).await?;
    if tenants::find(&transaction, id).await?.is_some() {
        transaction.rollback().await?;
        return Ok(Ok(()));
    }
    // A smaller server is better than one that does not answer. If all have failed, the chosen one
    // may soon be back.
    let failed_servers = services.fleet.health().failed_servers();
    let mut server = database_servers::choose_with_most_room(&transaction, &failed_servers).await?;
    if server.is_none() && !failed_servers.is_empty() {
        server = database_servers::choose_with_most_room(&transaction, &[]).await?;
    }
    let server = server.ok_or_else(|| {
        StepError::Transient(
            "no database server takes new tenants: each is full or draining".to_owned(),
        )
    })?;
    let tenant = NewTenant {
        id,
        slug,
        organization_name: input.organization_name.clone(),
        timezone: timezone.as_str(),
        plan: input.plan.clone().unwrap_or_else(|| USUAL_PLAN.to_owned()),
        sealed_password: sealer.seal(&aad::tenant_password(id), password.as_bytes())?,
        schema_version: template::schema_version(),
        server_id: server.id,
    };
    if let Err(taken) = tenants::reserve(&transaction, &tenant, now).await? {
        transaction.rollback().await?;
        return Ok(Err(taken));
    }
    if let Some(owner) = &input.owner {
        let email: EmailAddress = owner.email.parse().map_err(unreadable)?;
        let hash = services.registry.hasher().email(&email);
        if let Err(EmailTaken) = email_index::claim_owner(&transaction, hash, id, now).await? {
            transaction.rollback().await?;
            return Err(Refusal::EmailTaken.into());
        }
    }
    if input.unproven {
        unproven_tenants::add(&transaction, id).await?;
    }
    transaction.commit().await?;
    Ok(Ok(()))
}

async fn undo(context: &Context) -> Result<StepOutput, StepError> {
    context.find_purgeable().await?;
    let db = context.registry().await?;
    let transaction = db.begin().await?;
    context.check_lease(&transaction).await?;
    email_index::remove_all(&transaction, context.tenant_id).await?;
    tenants::remove_unfinished(&transaction, context.tenant_id).await?;
    transaction.commit().await?;
    context.services.router.directory().forget(context.tenant_id);
    Ok(StepOutput::nothing_more())
}
