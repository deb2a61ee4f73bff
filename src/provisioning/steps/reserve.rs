//! The tenant's row, its slug and its owner's address: in one transaction, so that races end here.

use futures_util::FutureExt;
use sea_orm::{TransactionSession, TransactionTrait};
use secrecy::ExposeSecret;

use super::{Context, SagaStep, StepError};
use crate::identifiers::Slug;
use crate::postgres::migrating;
use crate::provisioning::saga::Refusal;
use crate::registry::email_index::{self, EmailTaken};
use crate::registry::tenants::{self, NewTenant, SlugTaken, password_bound_to};

/// Derived slugs that are tried before the step fails.
const SLUG_ATTEMPTS: usize = 8;

pub(crate) const STEP: SagaStep<Context> = SagaStep {
    name: "reserve",
    apply: |context| apply(context).boxed(),
    undo: |context| undo(context).boxed(),
};

async fn apply(context: &Context) -> Result<(), StepError> {
    let wanted = &context.registration.slug;
    let base = wanted.clone().or_else(|| Slug::derive(&context.registration.organization_name));
    let mut slug = match base.clone() {
        Some(slug) => slug,
        None => fallback()?,
    };
    for _ in 0..SLUG_ATTEMPTS {
        match reserve(context, slug).await? {
            Ok(()) => return Ok(()),
            Err(SlugTaken) if wanted.is_some() => return Err(Refusal::SlugTaken.into()),
            Err(SlugTaken) => {
                slug = match &base {
                    Some(base) => base.with_suffix(),
                    None => fallback()?,
                };
            }
        }
    }
    Err(StepError::Passing("no free slug was found".to_owned()))
}

/// For a name of which no letter fits into a slug.
fn fallback() -> Result<Slug, StepError> {
    let plain: Result<Slug, _> = "organization".parse();
    plain.map(|slug| slug.with_suffix()).map_err(|e| StepError::Passing(e.to_string()))
}

async fn reserve(context: &Context, slug: Slug) -> Result<Result<(), SlugTaken>, StepError> {
    let tools = &context.tools;
    let now = tools.clock.now();
    let id = context.tenant_id;
    let db = tools.registry.connect().await?;
    if tenants::find(&db, id).await?.is_some() {
        return Ok(Ok(()));
    }
    let password = context.role_password.expose_secret().as_bytes();
    let tenant = NewTenant {
        id,
        slug,
        organization_name: context.registration.organization_name.clone(),
        timezone: context.registration.timezone.as_str(),
        sealed_password: tools
            .registry
            .sealer()
            .seal(&password_bound_to(id), password)
            .map_err(|e| StepError::Passing(e.to_string()))?,
        schema_version: migrating::newest::<tenant_migrations::Migrator>(),
    };
    let transaction = db.begin().await?;
    if let Err(taken) = tenants::reserve(&transaction, &tenant, now).await? {
        transaction.rollback().await?;
        return Ok(Err(taken));
    }
    let email_hash = tools.registry.hasher().email(&context.registration.email);
    if let Err(EmailTaken) = email_index::claim_owner(&transaction, email_hash, id, now).await? {
        transaction.rollback().await?;
        return Err(Refusal::EmailTaken.into());
    }
    transaction.commit().await?;
    Ok(Ok(()))
}

async fn undo(context: &Context) -> Result<(), StepError> {
    let db = context.tools.registry.connect().await?;
    let transaction = db.begin().await?;
    email_index::remove_all(&transaction, context.tenant_id).await?;
    tenants::remove_unfinished(&transaction, context.tenant_id).await?;
    transaction.commit().await?;
    context.tools.router.directory().forget(context.tenant_id);
    Ok(())
}
