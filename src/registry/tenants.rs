//! The tenants' rows in the registry.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder,
    Statement,
};

use super::entities::tenants::{ActiveModel, Column, Entity};
pub use super::entities::tenants::{Model as Tenant, Status};
use super::{OnRegistry, RegistryError};
use crate::identifiers::{ServerId, Slug, TenantId, Timezone};
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::postgres::failure;

pub mod database_servers;
pub mod domains;
pub mod email_index;
pub mod inventory;
pub mod phone_numbers;
pub mod warm_databases;
pub mod unproven_tenants;

/// The server that holds the registry. The first migration writes its row.
pub const REGISTRY_SERVER: ServerId =
    ServerId(uuid::Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

/// The longest time in which a tenant can be restored, whatever is configured: a hundred years.
const LONGEST_GRACE: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// The plan of a tenant for which no other was requested.
pub const USUAL_PLAN: &str = "standard";

/// The values of a new tenant's row.
pub struct NewTenant {
    /// The tenant's id. Its database and its role are named after it.
    pub id: TenantId,
    /// The tenant's name in URLs.
    pub slug: Slug,
    /// The display name of the organization.
    pub organization_name: String,
    /// An IANA time zone name.
    pub timezone: &'static str,
    /// The plan that the tenant pays for.
    pub plan: String,
    /// The sealed password of the tenant's role.
    pub sealed_password: Vec<u8>,
    /// The newest migration that its database will have.
    pub schema_version: String,
    /// The server that its database will be on.
    pub server_id: ServerId,
}

/// The slug belongs to another tenant.
#[derive(Debug, PartialEq, Eq)]
pub struct SlugTaken;

/// Writes the row of a tenant that is about to be created.
pub async fn reserve(
    db: &impl OnRegistry,
    tenant: &NewTenant,
    now: DateTime<Utc>,
) -> Result<Result<(), SlugTaken>, RegistryError> {
    let row = ActiveModel {
        id: Set(tenant.id),
        slug: Set(tenant.slug.as_str().to_owned()),
        organization_name: Set(tenant.organization_name.clone()),
        timezone: Set(tenant.timezone.to_owned()),
        plan: Set(tenant.plan.clone()),
        status: Set(Status::Provisioning),
        server_id: Set(tenant.server_id),
        database_name: Set(tenant.id.database_name()),
        role_name: Set(tenant.id.database_name()),
        sealed_password: Set(tenant.sealed_password.clone()),
        schema_version: Set(tenant.schema_version.clone()),
        created_at: Set(now),
        updated_at: Set(now),
        deleted_at: Set(None),
        status_before_deletion: Set(None),
    };
    match Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(Ok(())),
        Err(e) if failure::violated_unique_constraint(&e) == Some("tenants_slug_key") => {
            Ok(Err(SlugTaken))
        }
        Err(e) => Err(e.into()),
    }
}

/// Records the newest migration of a tenant's database.
pub async fn record_schema_version(
    db: &impl OnRegistry,
    id: TenantId,
    version: &str,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        schema_version: Set(version.to_owned()),
        updated_at: Set(now),
        ..Default::default()
    };
    Entity::update_many().set(row).filter(Column::Id.eq(id.0)).exec(db).await?;
    Ok(())
}

/// Changes a tenant's status from one to another. `false` if the tenant did not have the first.
pub async fn change_status(
    db: &impl OnRegistry,
    id: TenantId,
    from: Status,
    to: Status,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let row = ActiveModel { status: Set(to), updated_at: Set(now), ..Default::default() };
    let changed = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id.0))
        .filter(Column::Status.eq(from))
        .exec(db)
        .await?;
    Ok(changed.rows_affected == 1)
}

const DELETE: &str = "
UPDATE tenants SET status = 'deleted', status_before_deletion = status, deleted_at = clock_timestamp(), updated_at = $2
WHERE id = $1 AND status IN ('active', 'suspended', 'failed')
";

/// Deletes a tenant so that it can be restored: nothing is removed, and nothing is served. `false`
/// if there is nothing to delete. The time for restoring starts by the registry's clock, not by
/// `now`: a replica with a wrong clock must not destroy anything.
pub async fn delete(
    db: &impl OnRegistry,
    id: TenantId,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let statement =
        Statement::from_sql_and_values(DbBackend::Postgres, DELETE, [id.0.into(), now.into()]);
    Ok(db.execute_raw(statement).await?.rows_affected() == 1)
}

const RESTORE: &str = "
UPDATE tenants SET status = coalesce(status_before_deletion, 'active'), status_before_deletion = NULL,
    deleted_at = NULL, updated_at = $2
WHERE id = $1 AND status = 'deleted'
";

/// Gives a deleted tenant its former status. `false` if it is not deleted, or its purge has begun.
pub async fn restore(
    db: &impl OnRegistry,
    id: TenantId,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let statement =
        Statement::from_sql_and_values(DbBackend::Postgres, RESTORE, [id.0.into(), now.into()]);
    Ok(db.execute_raw(statement).await?.rows_affected() == 1)
}

const OVERDUE: &str =
    "status = 'deleted' AND deleted_at <= clock_timestamp() - make_interval(secs => $1)";

fn seconds(grace: Duration) -> sea_orm::Value {
    grace.min(LONGEST_GRACE).as_secs_f64().into()
}

/// Tenants that were deleted longer than `grace` ago by the registry's clock, the longest deleted
/// first.
pub async fn overdue(
    db: &impl OnRegistry,
    grace: Duration,
    limit: i64,
) -> Result<Vec<Tenant>, RegistryError> {
    let sql = format!("SELECT * FROM tenants WHERE {OVERDUE} ORDER BY deleted_at LIMIT $2");
    let values = [seconds(grace), limit.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    Ok(Tenant::find_by_statement(statement).all(db).await?)
}

/// Starts the purge of a tenant that was deleted longer than `grace` ago by the registry's clock.
/// From then on it cannot be restored. `false` if it was not deleted, not for that long, or is
/// being purged already.
pub async fn begin_purge(
    db: &impl OnRegistry,
    id: TenantId,
    grace: Duration,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let sql = format!(
        "UPDATE tenants SET status = 'purging', updated_at = $3 WHERE id = $2 AND {OVERDUE}"
    );
    let values = [seconds(grace), id.0.into(), now.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    Ok(db.execute_raw(statement).await?.rows_affected() == 1)
}

const FORGET_NAMES: &str = "
UPDATE tenants SET slug = '~' || id, sealed_password = '', updated_at = $2 WHERE id = $1 AND status = 'purging'
";

/// Frees the slug of a tenant that is being purged, and deletes its password. The slug that stays
/// begins with a tilde, which no requested slug can.
pub async fn forget_names(
    db: &impl OnRegistry,
    id: TenantId,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let values = [id.0.into(), now.into()];
    db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, FORGET_NAMES, values))
        .await?;
    Ok(())
}

/// Removes the row of a tenant whose creation was undone.
pub async fn remove_unfinished(db: &impl OnRegistry, id: TenantId) -> Result<(), RegistryError> {
    Entity::delete_many()
        .filter(Column::Id.eq(id.0))
        .filter(Column::Status.is_in([Status::Pending, Status::Provisioning, Status::Failed]))
        .exec(db)
        .await?;
    Ok(())
}

/// The tenant with this id.
pub async fn find(db: &impl OnRegistry, id: TenantId) -> Result<Option<Tenant>, RegistryError> {
    Ok(Entity::find_by_id(id).one(db).await?)
}

/// The tenant with this slug.
pub async fn find_by_slug(
    db: &impl OnRegistry,
    slug: &str,
) -> Result<Option<Tenant>, RegistryError> {
    Ok(Entity::find().filter(Column::Slug.eq(slug)).one(db).await?)
}

/// Selects tenants. A field that is `None` selects all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Tenants in this status.
    pub status: Option<Status>,
    /// Tenants with this plan.
    pub plan: Option<String>,
    /// Tenants on this server.
    pub server: Option<ServerId>,
    /// A part of the slug or of the name, in upper or lower case, or the id.
    pub text: Option<String>,
}

const HAS_TEXT: &str = "(strpos(lower(slug), lower($1)) > 0 OR strpos(lower(organization_name), lower($2)) > 0 \
                        OR id::text = lower($3))";

/// One page of tenants, the newest first.
pub async fn page(
    db: &impl OnRegistry,
    filter: &Filter,
    page: PageRequest,
) -> Result<Page<Tenant>, RegistryError> {
    let text = filter.text.as_ref().map(|text| Expr::cust_with_values(HAS_TEXT, vec![text; 3]));
    let wanted = Condition::all()
        .add_option(filter.status.map(|status| Column::Status.eq(status)))
        .add_option(filter.plan.as_ref().map(|plan| Column::Plan.eq(plan)))
        .add_option(filter.server.map(|server| Column::ServerId.eq(server)))
        .add_option(text);
    let position = |row: &Tenant| Position { at: row.created_at, id: row.id.0 };
    Ok(newest_first(db, Entity::find().filter(wanted), page, position).await?)
}

/// Changes to a tenant. A field that is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct TenantEdit {
    /// The display name of the organization.
    pub organization_name: Option<String>,
    /// An IANA time zone name.
    pub timezone: Option<Timezone>,
    /// The plan that the tenant pays for.
    pub plan: Option<String>,
}

impl TenantEdit {
    /// True if the tenant can be changed and already has all these values.
    pub fn is_done(&self, tenant: &Tenant) -> bool {
        let is_same = |new: Option<&str>, old: &str| new.is_none_or(|new| new == old);
        !GONE.contains(&tenant.status)
            && is_same(self.organization_name.as_deref(), &tenant.organization_name)
            && is_same(self.timezone.as_ref().map(Timezone::as_str), &tenant.timezone)
            && is_same(self.plan.as_deref(), &tenant.plan)
    }
}

/// A tenant in one of these statuses cannot be changed.
const GONE: [Status; 3] = [Status::Deleted, Status::Purging, Status::Purged];

/// Changes a tenant that is not deleted, and returns its new row. `None` if it is deleted or does
/// not exist.
pub async fn edit(
    db: &impl OnRegistry,
    id: TenantId,
    edit: TenantEdit,
    now: DateTime<Utc>,
) -> Result<Option<Tenant>, RegistryError> {
    let row = ActiveModel {
        organization_name: edit.organization_name.map_or(NotSet, Set),
        timezone: edit.timezone.map_or(NotSet, |zone| Set(zone.as_str().to_owned())),
        plan: edit.plan.map_or(NotSet, Set),
        updated_at: Set(now),
        ..Default::default()
    };
    let edited = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id.0))
        .filter(Column::Status.is_not_in(GONE))
        .exec_with_returning(db)
        .await?;
    Ok(edited.into_iter().next())
}

/// All tenants, the oldest first. With `status`, only tenants in that status.
pub async fn list(
    db: &impl OnRegistry,
    status: Option<Status>,
) -> Result<Vec<Tenant>, RegistryError> {
    let mut query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    if let Some(status) = status {
        query = query.filter(Column::Status.eq(status));
    }
    Ok(query.all(db).await?)
}
