use crate::identifiers::{ServerId, TenantId};
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tenants")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: TenantId,
    pub slug: String,
    pub organization_name: String,
    pub timezone: String,
    pub plan: String,
    pub status: Status,
    pub server_id: ServerId,
    pub database_name: String,
    pub role_name: String,
    pub sealed_password: Vec<u8>,
    pub schema_version: String,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub deleted_at: Option<DateTimeUtc>,
    pub status_before_deletion: Option<Status>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The status of a tenant in its lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Recorded, and nothing created yet.
    Pending,
    /// Its database is being created.
    Provisioning,
    /// Active: its requests are served.
    Active,
    /// Locked by an operator. Its data stays.
    Suspended,
    /// Its creation failed.
    Failed,
    /// Deleted by its owner or an operator. It can be restored.
    Deleted,
    /// Its database is being removed for good.
    Purging,
    /// Removed for good. The row stays as a record.
    Purged,
}
