//! `narthex tenants suspend`, `resume`, `delete` and `restore`: from one status to another, if it is still that one.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ActiveEnum, TransactionSession, TransactionTrait};

use super::find;
use crate::app::App;
use crate::cli::CommandError;
use crate::cli::actor::actor;
use crate::clock::Clock;
use crate::identifiers::TenantId;
use crate::registry::tenants::{self, Status, Tenant};
use crate::registry::{RegistryDb, RegistryError, RegistryTransaction, clerk, operator_acts};

pub(super) async fn suspend(app: &App, name: &str) -> Result<(), CommandError> {
    change(app, name, "suspended", (Status::Active, Status::Suspended)).await
}

pub(super) async fn resume(app: &App, name: &str) -> Result<(), CommandError> {
    change(app, name, "resumed", (Status::Suspended, Status::Active)).await
}

async fn change(
    app: &App,
    name: &str,
    done: &str,
    (from, to): (Status, Status),
) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let tenant = find(&db, name).await?;
    let (id, now) = (TenantId(tenant.id), Clock::system().now());
    let transaction = db.begin().await.map_err(RegistryError::from)?;
    let changed = tenants::change_status(&transaction, id, from, to, now).await?;
    if !finish(transaction, id, changed, done).await? {
        return refused(app, &db, &tenant, done, to).await;
    }
    println!("{} is {}", tenant.slug, to.to_value());
    Ok(())
}

pub(super) async fn delete(app: &App, name: &str, confirm: &str) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let tenant = find(&db, name).await?;
    if confirm != tenant.slug {
        return Err(CommandError::Other(format!(
            "`{name}` is the tenant `{0}` ({1}), and --confirm says `{confirm}`; nothing was done. To delete it, \
             --confirm {0}",
            tenant.slug, tenant.organization_name
        )));
    }
    let (id, now) = (TenantId(tenant.id), Clock::system().now());
    let transaction = db.begin().await.map_err(RegistryError::from)?;
    let changed = tenants::delete(&transaction, id, now).await?;
    if !finish(transaction, id, changed, "deleted").await? {
        return refused(app, &db, &tenant, "deleted", Status::Deleted).await;
    }
    println!("{}", deleted(app, &tenant, now));
    Ok(())
}

pub(super) async fn restore(app: &App, name: &str) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let tenant = find(&db, name).await?;
    let id = TenantId(tenant.id);
    let transaction = db.begin().await.map_err(RegistryError::from)?;
    let changed = tenants::restore(&transaction, id, Clock::system().now()).await?;
    if !finish(transaction, id, changed, "restored").await? {
        return refused(app, &db, &tenant, "restored", Status::Active).await;
    }
    let status = tenants::find(&db, id).await?.map_or(Status::Active, |tenant| tenant.status);
    println!("{} is {} again", tenant.slug, status.to_value());
    Ok(())
}

/// Ends the transaction of a change, with a note of whose it is. Says whether anything was changed.
async fn finish(
    transaction: RegistryTransaction,
    tenant: TenantId,
    changed: bool,
    done: &str,
) -> Result<bool, RegistryError> {
    if changed {
        // Whoever has left meanwhile gets in no more.
        clerk::settle_again(&transaction, tenant, Clock::system().now()).await?;
        operator_acts::note(&transaction, &actor(), done, Some(tenant), None).await?;
    }
    transaction.commit().await?;
    Ok(changed)
}

/// What a deleted tenant can expect.
fn deleted(app: &App, tenant: &Tenant, at: DateTime<Utc>) -> String {
    let until = TimeDelta::from_std(app.deletion_grace()).ok();
    let until = until.and_then(|grace| at.checked_add_signed(grace));
    let until = until.map_or_else(
        || "for ever".to_owned(),
        |until| format!("until {}; then it is removed for good", until.format("%F %T UTC")),
    );
    format!("{0} is deleted; `narthex tenants restore {0}` brings it back {until}", tenant.slug)
}

/// Why the tenant is not in the status that was asked for, and what to do instead. It can be in it already.
async fn refused(
    app: &App,
    db: &RegistryDb,
    tenant: &Tenant,
    wanted: &str,
    status: Status,
) -> Result<(), CommandError> {
    let found = tenants::find(db, TenantId(tenant.id)).await?;
    let tenant = found.as_ref().unwrap_or(tenant);
    if tenant.status == status {
        match tenant.deleted_at.filter(|_| status == Status::Deleted) {
            Some(at) => println!("{}", deleted(app, tenant, at)),
            None => println!("{} is {} already", tenant.slug, status.to_value()),
        }
        return Ok(());
    }
    let advice = super::advice(tenant);
    Err(CommandError::Other(format!(
        "`{}` is {} and cannot be {wanted}: {advice}",
        tenant.slug,
        tenant.status.to_value()
    )))
}
