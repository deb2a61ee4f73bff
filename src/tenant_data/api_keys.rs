//! API keys for the tenant's own programs. Only the SHA-256 of a key is stored.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
};
use uuid::Uuid;

pub use super::entities::api_keys::Model as ApiKey;
use super::entities::api_keys::{Column, Entity};
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::tenant_router::OnTenant;

/// The last use of a key is recorded at most once in this time.
const NOTED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// Adds a key. Returns the row as stored.
pub async fn add(db: &impl OnTenant, new: ApiKey) -> Result<ApiKey, DbErr> {
    Entity::insert(new.into_active_model().reset_all()).exec_with_returning(db).await
}

/// All keys, expired and revoked ones included, newest first.
pub async fn list(db: &impl OnTenant, page: PageRequest) -> Result<Page<ApiKey>, DbErr> {
    let position = |row: &ApiKey| Position { at: row.created_at, id: row.id };
    newest_first(db, Entity::find(), page, position).await
}

/// Revokes a key. Returns the key, and whether it was unrevoked until now. `None`: no key has this
/// id.
pub async fn revoke(
    db: &impl OnTenant,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<(ApiKey, bool)>, DbErr> {
    let revoked = Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(now))
        .filter(Column::Id.eq(id))
        .filter(Column::RevokedAt.is_null())
        .exec_with_returning(db)
        .await?;
    match revoked.into_iter().next() {
        Some(key) => Ok(Some((key, true))),
        None => Ok(Entity::find_by_id(id).one(db).await?.map(|key| (key, false))),
    }
}

/// The member of staff who created the key with this id. `None` if there is no key or its creator
/// is unknown.
pub async fn made_by(db: &impl OnTenant, id: Option<Uuid>) -> Result<Option<Uuid>, DbErr> {
    let Some(id) = id else { return Ok(None) };
    Ok(Entity::find_by_id(id).one(db).await?.and_then(|key| key.created_by))
}

/// Revokes all keys that a member of staff created. Returns their ids.
pub async fn revoke_made_by(
    db: &impl OnTenant,
    staff: Uuid,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, DbErr> {
    let revoked = Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(now))
        .filter(Column::CreatedBy.eq(staff))
        .filter(Column::RevokedAt.is_null())
        .exec_with_returning(db)
        .await?;
    Ok(revoked.into_iter().map(|key| key.id).collect())
}

/// Records that a key is in use.
pub async fn record_use(
    db: &impl OnTenant,
    id: Uuid,
    ip: Option<String>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let is_due = Condition::any()
        .add(Column::LastUsedAt.is_null())
        .add(Column::LastUsedAt.lt(now - NOTED_EVERY));
    Entity::update_many()
        .col_expr(Column::LastUsedAt, Expr::value(now))
        .col_expr(Column::LastUsedIp, Expr::value(ip))
        .filter(Column::Id.eq(id))
        .filter(is_due)
        .exec(db)
        .await?;
    Ok(())
}
