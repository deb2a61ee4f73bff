//! Everything outside the registry that was created for a tenant. [`super::run_leases::advance`]
//! writes it in the same statement as the step that created or released it.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::identifiers::{ServerId, TenantId};
pub use crate::registry::entities::resources::Model as Resource;
use crate::registry::entities::resources::{ActiveModel, Column, Entity};
use crate::registry::{OnRegistry, RegistryError};

/// The kind of a role on a database server.
pub const ROLE: &str = "role";
/// The kind of a database on a database server.
pub const DATABASE: &str = "database";

/// The resources of a tenant, the oldest first, released ones included.
pub async fn of_tenant(
    db: &impl OnRegistry,
    tenant: TenantId,
) -> Result<Vec<Resource>, RegistryError> {
    Ok(Entity::find()
        .filter(Column::TenantId.eq(tenant.0))
        .order_by_asc(Column::MadeAt)
        .order_by_asc(Column::Kind)
        .all(db)
        .await?)
}

/// The reference of the tenant's newest resource of one kind.
pub async fn reference(
    db: &impl OnRegistry,
    tenant: TenantId,
    kind: &str,
) -> Result<Option<String>, RegistryError> {
    let found = Entity::find()
        .filter(Column::TenantId.eq(tenant.0))
        .filter(Column::Kind.eq(kind))
        .filter(Column::ReleasedAt.is_null())
        .order_by_desc(Column::MadeAt)
        .one(db)
        .await?;
    Ok(found.map(|resource| resource.reference))
}

/// Records that a resource on a server is gone whose tenant is gone already.
pub async fn release(
    db: &impl OnRegistry,
    kind: &str,
    reference: &str,
    server: ServerId,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    Entity::update_many()
        .set(ActiveModel { released_at: Set(Some(now)), ..Default::default() })
        .filter(Column::Kind.eq(kind))
        .filter(Column::Reference.eq(reference))
        .filter(Column::ServerId.eq(server))
        .filter(Column::ReleasedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}
