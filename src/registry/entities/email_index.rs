use crate::identifiers::TenantId;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "email_index")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub email_hash: Vec<u8>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    pub self_registered_owner: bool,
    pub created_at: DateTimeUtc,
    pub unsettled_since: Option<DateTimeUtc>,
    pub contested: bool,
    pub invited: Option<bool>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
