use crate::identifiers::ServerId;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "spare_databases")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub server_id: ServerId,
    pub template: String,
    pub schema_version: String,
    pub state: State,
    pub claimed_by: Option<Uuid>,
    pub created_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The state of a warm database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum State {
    /// Being copied and verified.
    Making,
    /// Complete, and not claimed by a tenant.
    Ready,
    /// Claimed by a tenant, about to become its database.
    Claimed,
    /// Being dropped.
    Removing,
}
