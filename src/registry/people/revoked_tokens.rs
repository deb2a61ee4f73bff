//! Sessions whose access tokens every replica must reject.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue, ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::identifiers::TenantId;
pub use crate::registry::entities::revoked_tokens::Model as Revocation;
use crate::registry::entities::revoked_tokens::{ActiveModel, Column, Entity};
use crate::registry::{OnRegistry, RegistryError};

/// Revokes sessions of a tenant. `expires_at` is the time when the last of their access tokens
/// expires by itself.
pub async fn record(
    db: &impl OnRegistry,
    tenant: TenantId,
    sessions: &[Uuid],
    expires_at: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let rows = sessions.iter().map(|session| ActiveModel {
        session_id: Set(*session),
        tenant_id: Set(tenant),
        recorded_at: ActiveValue::NotSet,
        expires_at: Set(expires_at),
    });
    Entity::insert_many(rows)
        .on_conflict(OnConflict::column(Column::SessionId).do_nothing().to_owned())
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// True if this session has been revoked.
pub async fn is_revoked(
    db: &impl OnRegistry,
    session: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let found = Entity::find_by_id(session).filter(Column::ExpiresAt.gt(now)).one(db).await?;
    Ok(found.is_some())
}

/// Every revocation whose tokens have not expired.
pub async fn all(
    db: &impl OnRegistry,
    now: DateTime<Utc>,
) -> Result<Vec<Revocation>, RegistryError> {
    Ok(Entity::find().filter(Column::ExpiresAt.gt(now)).all(db).await?)
}

/// Revocations that were recorded during the last seconds, by the server's clock. Reads must
/// overlap: a transaction that commits late has an earlier time.
pub async fn recent(db: &impl OnRegistry) -> Result<Vec<Revocation>, RegistryError> {
    Ok(Entity::find()
        .filter(
            Expr::col(Column::RecordedAt)
                .gt(Expr::cust("clock_timestamp() - interval '15 seconds'")),
        )
        .all(db)
        .await?)
}

/// Removes revocations whose tokens have expired.
pub async fn clean_up(db: &impl OnRegistry, now: DateTime<Utc>) -> Result<u64, RegistryError> {
    Ok(Entity::delete_many().filter(Column::ExpiresAt.lte(now)).exec(db).await?.rows_affected)
}
