//! The keys that sign access tokens. Their seeds are sealed; the public keys are public.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
};

pub use crate::registry::entities::signing_keys::Audience;
use crate::registry::entities::signing_keys::{ActiveModel, Column, Entity};
use crate::registry::{OnRegistry, RegistryError, RegistryTransaction};
use crate::sealing::{Sealer, aad};

/// A stored key with its seed unsealed.
pub struct StoredKey {
    /// The key id in the header of a token.
    pub kid: String,
    /// The Ed25519 public key, 32 bytes.
    pub public_key: Vec<u8>,
    /// The Ed25519 private key, 32 secret bytes.
    pub seed: Vec<u8>,
    /// When the key was created.
    pub created_at: DateTime<Utc>,
    /// From then on tokens signed with this key are rejected. `None` if the key is not retired.
    pub retired_at: Option<DateTime<Utc>>,
    /// The audience of the tokens that it signs.
    pub audience: Audience,
}

/// Locks the keys against changes until the transaction ends.
pub async fn lock(transaction: &RegistryTransaction) -> Result<(), RegistryError> {
    transaction.execute_unprepared("LOCK TABLE signing_keys IN EXCLUSIVE MODE").await?;
    Ok(())
}

/// Every key that is accepted now, the newest first. With an audience, only its keys.
pub async fn active(
    db: &impl OnRegistry,
    sealer: &Sealer,
    audience: Option<Audience>,
    now: DateTime<Utc>,
) -> Result<Vec<StoredKey>, RegistryError> {
    let mut query = Entity::find();
    if let Some(audience) = audience {
        query = query.filter(Column::Audience.eq(audience));
    }
    query
        .filter(Column::RetiredAt.is_null().or(Column::RetiredAt.gt(now)))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Kid)
        .all(db)
        .await?
        .into_iter()
        .map(|row| {
            let seed = sealer.open(&aad::signing_key(&row.kid), &row.sealed_seed)?;
            Ok(StoredKey {
                kid: row.kid,
                public_key: row.public_key,
                seed,
                created_at: row.created_at,
                retired_at: row.retired_at,
                audience: row.audience,
            })
        })
        .collect()
}

/// Stores a new key.
pub async fn add(
    db: &impl OnRegistry,
    sealer: &Sealer,
    key: &StoredKey,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        kid: Set(key.kid.clone()),
        public_key: Set(key.public_key.clone()),
        sealed_seed: Set(sealer.seal(&aad::signing_key(&key.kid), &key.seed)?),
        created_at: Set(key.created_at),
        retired_at: Set(key.retired_at),
        audience: Set(key.audience),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Retires every other key of the same audience at that time. A key that retires earlier keeps its
/// time.
pub async fn retire_others(
    db: &impl OnRegistry,
    key: &StoredKey,
    at: DateTime<Utc>,
) -> Result<(), RegistryError> {
    Entity::update_many()
        .set(ActiveModel { retired_at: Set(Some(at)), ..Default::default() })
        .filter(Column::Kid.ne(&key.kid))
        .filter(Column::Audience.eq(key.audience))
        .filter(Column::RetiredAt.is_null().or(Column::RetiredAt.gt(at)))
        .exec(db)
        .await?;
    Ok(())
}

/// Removes retired keys. Returns their number.
pub async fn remove_retired(
    db: &impl OnRegistry,
    now: DateTime<Utc>,
) -> Result<u64, RegistryError> {
    let removed = Entity::delete_many().filter(Column::RetiredAt.lte(now)).exec(db).await?;
    Ok(removed.rows_affected)
}
