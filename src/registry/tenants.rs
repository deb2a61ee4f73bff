//! The tenants themselves.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use super::entities::tenants::{ActiveModel, Column, Entity};
pub use super::entities::tenants::{Model as Tenant, Status};
use super::{OnRegistry, RegistryError};
use crate::identifiers::{Slug, TenantId};
use crate::postgres::failure;

/// The server on which the registry itself lies; written by the first migration.
pub const REGISTRY_SERVER: uuid::Uuid =
    uuid::Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001);

/// What a sealed tenant password is bound to.
pub fn password_bound_to(id: TenantId) -> String {
    format!("tenants.password/{id}")
}

/// Everything that makes a new tenant's row.
pub struct NewTenant {
    /// Its id; database and role are named after it.
    pub id: TenantId,
    /// Its name in URLs.
    pub slug: Slug,
    /// Its name for people.
    pub organization_name: String,
    /// IANA name.
    pub timezone: &'static str,
    /// The role's password, sealed.
    pub sealed_password: Vec<u8>,
    /// The newest migration that its database will have.
    pub schema_version: String,
}

/// The slug belongs to another tenant.
#[derive(Debug, PartialEq, Eq)]
pub struct SlugTaken;

/// Writes the row of a tenant that is about to be made.
pub async fn reserve(
    db: &impl OnRegistry,
    tenant: &NewTenant,
    now: DateTime<Utc>,
) -> Result<Result<(), SlugTaken>, RegistryError> {
    let row = ActiveModel {
        id: Set(tenant.id.0),
        slug: Set(tenant.slug.as_str().to_owned()),
        organization_name: Set(tenant.organization_name.clone()),
        timezone: Set(tenant.timezone.to_owned()),
        plan: Set("standard".to_owned()),
        status: Set(Status::Provisioning),
        server_id: Set(REGISTRY_SERVER),
        database_name: Set(tenant.id.database_name()),
        role_name: Set(tenant.id.database_name()),
        sealed_password: Set(tenant.sealed_password.clone()),
        schema_version: Set(tenant.schema_version.clone()),
        created_at: Set(now),
        updated_at: Set(now),
        deleted_at: Set(None),
    };
    match Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(Ok(())),
        Err(e) if failure::violated_unique_constraint(&e) == Some("tenants_slug_key") => {
            Ok(Err(SlugTaken))
        }
        Err(e) => Err(e.into()),
    }
}

/// Moves a tenant from one status to another; `false` where it was not in the first.
pub async fn change_status(
    db: &impl OnRegistry,
    id: TenantId,
    from: Status,
    to: Status,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let mut row = ActiveModel { status: Set(to), updated_at: Set(now), ..Default::default() };
    if to == Status::Deleted {
        row.deleted_at = Set(Some(now));
    }
    let changed = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id.0))
        .filter(Column::Status.eq(from))
        .exec(db)
        .await?;
    Ok(changed.rows_affected == 1)
}

/// Removes the row of a tenant that was never made whole.
pub async fn remove_unfinished(db: &impl OnRegistry, id: TenantId) -> Result<(), RegistryError> {
    Entity::delete_many()
        .filter(Column::Id.eq(id.0))
        .filter(Column::Status.is_in([Status::Pending, Status::Provisioning, Status::Failed]))
        .exec(db)
        .await?;
    Ok(())
}

/// One tenant.
pub async fn find(db: &impl OnRegistry, id: TenantId) -> Result<Option<Tenant>, RegistryError> {
    Ok(Entity::find_by_id(id.0).one(db).await?)
}

/// One tenant, by its slug.
pub async fn find_by_slug(
    db: &impl OnRegistry,
    slug: &str,
) -> Result<Option<Tenant>, RegistryError> {
    Ok(Entity::find().filter(Column::Slug.eq(slug)).one(db).await?)
}

/// All tenants, oldest first; those of one status where one is named.
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
