//! Rows of operators.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::registry::entities::operators::{ActiveModel, Column, Entity, Model as Operator};
use crate::registry::{OnRegistry, RegistryError};

/// One operator.
pub async fn find(db: &impl OnRegistry, id: Uuid) -> Result<Option<Operator>, RegistryError> {
    Ok(Entity::find_by_id(id).one(db).await?)
}

/// Changes what the row has set.
pub(super) async fn update(
    db: &impl OnRegistry,
    id: Uuid,
    row: ActiveModel,
) -> Result<(), RegistryError> {
    Entity::update_many().set(row).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}
