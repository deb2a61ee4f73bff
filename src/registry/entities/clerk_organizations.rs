use crate::identifiers::{RunId, TenantId};
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "clerk_organizations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub name: Option<String>,
    pub slug: Option<String>,
    pub created_by: Option<String>,
    pub updated_ms: i64,
    pub sent_ms: i64,
    pub created_seen: bool,
    pub deleted: bool,
    pub tenant_id: Option<TenantId>,
    pub run_id: Option<RunId>,
    pub changes: i64,
    pub settled: i64,
    pub settle_attempts: i32,
    pub next_settle_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
