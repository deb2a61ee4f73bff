//! `narthex tenants suspend`, `resume`, `delete` and `restore`: changes of status, from an expected
//! status to another.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::ActiveEnum;

use super::lookup::{advice, find};
use crate::app::App;
use crate::cli::CommandError;
use crate::cli::actor::origin;
use crate::registry::tenants::{self, Tenant};
use crate::tenants::StatusChange;

pub(super) async fn suspend(app: &App, name: &str) -> Result<(), CommandError> {
    change(app, name, StatusChange::Suspend).await
}

pub(super) async fn resume(app: &App, name: &str) -> Result<(), CommandError> {
    change(app, name, StatusChange::Resume).await
}

pub(super) async fn restore(app: &App, name: &str) -> Result<(), CommandError> {
    change(app, name, StatusChange::Restore).await
}

pub(super) async fn delete(app: &App, name: &str, confirm: &str) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let tenant = find(&db, name).await?;
    drop(db);
    if confirm != tenant.slug {
        return Err(CommandError::Other(format!(
            "`{name}` is the tenant `{0}` ({1}), and --confirm says `{confirm}`; nothing was done. To delete it, \
             --confirm {0}",
            tenant.slug, tenant.organization_name
        )));
    }
    change(app, name, StatusChange::Delete).await
}

async fn change(app: &App, name: &str, change: StatusChange) -> Result<(), CommandError> {
    let db = app.registry.connect().await?;
    let tenant = find(&db, name).await?;
    drop(db);
    let id = tenant.id;
    let changed = app.tenants.change_status(id, change, &origin()).await?;
    let db = app.registry.connect().await?;
    let tenant = tenants::find(&db, id).await?.unwrap_or(tenant);
    if !changed {
        return refused(app, &tenant, change);
    }
    let status = tenant.status.to_value();
    match (change, tenant.deleted_at) {
        (StatusChange::Delete, Some(at)) => say!("{}", deleted(app, &tenant, at)),
        (StatusChange::Restore, _) => say!("{} is {status} again", tenant.slug),
        _ => say!("{} is {status}", tenant.slug),
    }
    Ok(())
}

/// The text after a deletion: until when the tenant can be restored.
fn deleted(app: &App, tenant: &Tenant, at: DateTime<Utc>) -> String {
    let until = TimeDelta::from_std(app.deletion_grace()).ok();
    let until = until.and_then(|grace| at.checked_add_signed(grace));
    let until = until.map_or_else(
        || "for ever".to_owned(),
        |until| format!("until {}; then it is removed for good", until.format("%F %T UTC")),
    );
    format!("{0} is deleted; `narthex tenants restore {0}` brings it back {until}", tenant.slug)
}

/// The answer to a change that the tenant's status does not allow, with advice. No error if the
/// tenant has the wanted status already.
fn refused(app: &App, tenant: &Tenant, change: StatusChange) -> Result<(), CommandError> {
    if tenant.status == change.status() {
        match tenant.deleted_at.filter(|_| change == StatusChange::Delete) {
            Some(at) => say!("{}", deleted(app, tenant, at)),
            None => say!("{} is {} already", tenant.slug, tenant.status.to_value()),
        }
        return Ok(());
    }
    let advice = advice(tenant);
    Err(CommandError::Other(format!(
        "`{}` is {} and cannot be {}: {advice}",
        tenant.slug,
        tenant.status.to_value(),
        change.done()
    )))
}
