//! Sealed values that the registry creates once for itself.

use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};

use crate::clock::Clock;
use crate::registry::entities::system_config::{ActiveModel, Column, Entity};
use crate::registry::{OnRegistry, RegistryError};
use crate::sealing::{Sealer, SealingError, aad};

/// A key of 32 bytes. The first replica that asks creates it, and every other replica reads it.
pub(in crate::registry) async fn kept_key(
    db: &impl OnRegistry,
    sealer: &Sealer,
    name: &str,
    clock: &Clock,
) -> Result<Vec<u8>, RegistryError> {
    let fresh: [u8; 32] = sealer.random_bytes()?;
    let row = ActiveModel {
        key: Set(name.to_owned()),
        sealed_value: Set(sealer.seal(&aad::kept_key(name), &fresh)?),
        created_at: Set(clock.now()),
    };
    Entity::insert(row)
        .on_conflict(OnConflict::column(Column::Key).do_nothing().to_owned())
        .exec_without_returning(db)
        .await?;
    let kept =
        Entity::find_by_id(name.to_owned()).one(db).await?.ok_or(SealingError::Unreadable)?;
    Ok(sealer.open(&aad::kept_key(name), &kept.sealed_value)?)
}
