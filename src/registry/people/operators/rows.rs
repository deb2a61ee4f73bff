//! Reads and updates rows of operators.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::registry::entities::operators::{ActiveModel, Column, Entity, Model as Operator};
use crate::registry::{OnRegistry, RegistryError};

/// The operator with this id.
pub async fn find(db: &impl OnRegistry, id: Uuid) -> Result<Option<Operator>, RegistryError> {
    Ok(Entity::find_by_id(id).one(db).await?)
}

/// Updates the columns that are set in the row.
pub(super) async fn update(
    db: &impl OnRegistry,
    id: Uuid,
    row: ActiveModel,
) -> Result<(), RegistryError> {
    Entity::update_many().set(row).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}
