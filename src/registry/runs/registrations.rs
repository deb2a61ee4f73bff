//! Registrations by the key that their client chose (`Idempotency-Key`), so that a repeated request
//! finds the first one. Only keyed hashes of the key and of the request are stored.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::identifiers::RunId;
pub use crate::registry::entities::registrations::Model as Registration;
use crate::registry::entities::registrations::{ActiveModel, Column, Entity};
use crate::registry::{OnRegistry, RegistryError};

/// How long a key is kept.
pub const KEPT_FOR: TimeDelta = TimeDelta::hours(24);

/// The registration with this key. `None` if there is none or it has expired.
pub async fn find(
    db: &impl OnRegistry,
    key_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Registration>, RegistryError> {
    Ok(Entity::find_by_id(key_hash.to_vec()).filter(Column::ExpiresAt.gt(now)).one(db).await?)
}

/// Records the key of a run in the transaction that records the run. `false` if the key is taken.
/// Of two concurrent calls, the second waits here until the first has committed.
pub async fn remember(
    db: &impl OnRegistry,
    key_hash: Vec<u8>,
    request_hash: Vec<u8>,
    run: RunId,
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

/// Removes a key if it belongs to this run.
pub async fn free(db: &impl OnRegistry, key_hash: &[u8], run: RunId) -> Result<(), RegistryError> {
    Entity::delete_many()
        .filter(Column::KeyHash.eq(key_hash.to_vec()))
        .filter(Column::RunId.eq(run))
        .exec(db)
        .await?;
    Ok(())
}

/// Removes expired keys. Returns their number.
pub async fn forget_expired(
    db: &impl OnRegistry,
    now: DateTime<Utc>,
) -> Result<u64, RegistryError> {
    let expired = Entity::delete_many().filter(Column::ExpiresAt.lte(now)).exec(db).await?;
    Ok(expired.rows_affected)
}
