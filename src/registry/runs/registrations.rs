//! Registrations by the key that their client chose (`Idempotency-Key`): a repeat finds the first one again. Knows keyed
//! hashes only, of the key and of the request.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

pub use crate::registry::entities::registrations::Model as Registration;
use crate::registry::entities::registrations::{ActiveModel, Column, Entity};
use crate::registry::{OnRegistry, RegistryError};

/// A key is remembered for this long.
pub const KEPT_FOR: TimeDelta = TimeDelta::hours(24);

/// The registration that this key stands for, unless its time is over.
pub async fn find(
    db: &impl OnRegistry,
    key_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Registration>, RegistryError> {
    Ok(Entity::find_by_id(key_hash.to_vec()).filter(Column::ExpiresAt.gt(now)).one(db).await?)
}

/// Remembers the key of a run that is written down in the same transaction. `false`: the key is taken. Of two that
/// come at once, the second waits here until the first has committed.
pub async fn remember(
    db: &impl OnRegistry,
    key_hash: Vec<u8>,
    request_hash: Vec<u8>,
    run: Uuid,
    owner: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let row = ActiveModel {
        key_hash: Set(key_hash),
        request_hash: Set(request_hash),
        run_id: Set(run),
        owner_id: Set(owner),
        expires_at: Set(now + KEPT_FOR),
    };
    let over = OnConflict::column(Column::KeyHash)
        .update_columns([Column::RequestHash, Column::RunId, Column::OwnerId, Column::ExpiresAt])
        .action_and_where(sea_orm::sea_query::ExprTrait::lte(
            sea_orm::sea_query::Expr::col((Entity, Column::ExpiresAt)),
            now,
        ))
        .to_owned();
    Ok(Entity::insert(row).on_conflict(over).exec_without_returning(db).await? == 1)
}

/// Forgets a key, as long as it stands for this run.
pub async fn free(db: &impl OnRegistry, key_hash: &[u8], run: Uuid) -> Result<(), RegistryError> {
    Entity::delete_many()
        .filter(Column::KeyHash.eq(key_hash.to_vec()))
        .filter(Column::RunId.eq(run))
        .exec(db)
        .await?;
    Ok(())
}

/// Forgets keys whose time is over. Returns how many.
pub async fn forget_expired(
    db: &impl OnRegistry,
    now: DateTime<Utc>,
) -> Result<u64, RegistryError> {
    let expired = Entity::delete_many().filter(Column::ExpiresAt.lte(now)).exec(db).await?;
    Ok(expired.rows_affected)
}
