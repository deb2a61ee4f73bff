//! The keys that sign access tokens. Their seeds are sealed; the public halves are for everybody.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
};

pub use crate::registry::entities::signing_keys::Audience;
use crate::registry::entities::signing_keys::{ActiveModel, Column, Entity};
use crate::registry::{OnRegistry, RegistryError, RegistryTransaction};
use crate::sealing::Sealer;

/// A key as it is kept, its seed opened.
pub struct StoredKey {
    /// The id by which a token names it.
    pub kid: String,
    /// 32 bytes.
    pub public_key: Vec<u8>,
    /// 32 bytes; secret.
    pub seed: Vec<u8>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When nothing that it has signed is believed any more.
    pub retired_at: Option<DateTime<Utc>>,
    /// Whose tokens it signs.
    pub audience: Audience,
}

fn aad(kid: &str) -> String {
    format!("signing_keys.seed/{kid}")
}

/// Keeps others from changing the keys until the transaction ends.
pub async fn lock(transaction: &RegistryTransaction) -> Result<(), RegistryError> {
    transaction.execute_unprepared("LOCK TABLE signing_keys IN EXCLUSIVE MODE").await?;
    Ok(())
}

/// Every key that is believed now, newest first; those of one audience where one is named.
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
            let seed = sealer.open(&aad(&row.kid), &row.sealed_seed)?;
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

/// Keeps a new key.
pub async fn add(
    db: &impl OnRegistry,
    sealer: &Sealer,
    key: &StoredKey,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        kid: Set(key.kid.clone()),
        public_key: Set(key.public_key.clone()),
        sealed_seed: Set(sealer.seal(&aad(&key.kid), &key.seed)?),
        created_at: Set(key.created_at),
        retired_at: Set(key.retired_at),
        audience: Set(key.audience),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// From then on no other key of the same audience is believed. One whose time is over sooner keeps it.
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

/// Removes what is retired: nobody will ever ask for it. Returns how many.
pub async fn remove_retired(
    db: &impl OnRegistry,
    now: DateTime<Utc>,
) -> Result<u64, RegistryError> {
    let removed = Entity::delete_many().filter(Column::RetiredAt.lte(now)).exec(db).await?;
    Ok(removed.rows_affected)
}
