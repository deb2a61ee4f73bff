//! The keys that sign access tokens. Their seeds are sealed; the public halves are for everybody.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
};

use super::entities::signing_keys::{ActiveModel, Column, Entity};
use super::{OnRegistry, RegistryError, RegistryTransaction};
use crate::sealing::Sealer;

/// A key as it is kept, its seed opened.
pub struct StoredKey {
    /// The id by which a token names it.
    pub kid: String,
    /// 32 bytes.
    pub public_key: Vec<u8>,
    /// 32 bytes; secret.
    pub seed: Vec<u8>,
}

fn bound_to(kid: &str) -> String {
    format!("signing_keys.seed/{kid}")
}

/// Keeps others from changing the keys until the transaction ends.
pub async fn lock(transaction: &RegistryTransaction) -> Result<(), RegistryError> {
    transaction.execute_unprepared("LOCK TABLE signing_keys IN EXCLUSIVE MODE").await?;
    Ok(())
}

/// Every key that is not retired, newest first.
pub async fn active(
    db: &impl OnRegistry,
    sealer: &Sealer,
) -> Result<Vec<StoredKey>, RegistryError> {
    Entity::find()
        .filter(Column::RetiredAt.is_null())
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Kid)
        .all(db)
        .await?
        .into_iter()
        .map(|row| {
            let seed = sealer.open(&bound_to(&row.kid), &row.sealed_seed)?;
            Ok(StoredKey { kid: row.kid, public_key: row.public_key, seed })
        })
        .collect()
}

/// Keeps a new key.
pub async fn add(
    db: &impl OnRegistry,
    sealer: &Sealer,
    key: &StoredKey,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        kid: Set(key.kid.clone()),
        public_key: Set(key.public_key.clone()),
        sealed_seed: Set(sealer.seal(&bound_to(&key.kid), &key.seed)?),
        created_at: Set(now),
        retired_at: Set(None),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}
