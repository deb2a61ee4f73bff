use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tenants")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub slug: String,
    pub organization_name: String,
    pub timezone: String,
    pub plan: String,
    pub status: Status,
    pub server_id: Uuid,
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

/// Where a tenant stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Known, and nothing made yet.
    Pending,
    /// Its database is being made.
    Provisioning,
    /// In use.
    Active,
    /// Locked by an operator; nothing of it is lost.
    Suspended,
    /// Could not be made.
    Failed,
    /// Deleted by its owner or an operator, and restorable.
    Deleted,
    /// Its database is being removed for good.
    Purging,
    /// Gone; the row stays for the record.
    Purged,
}
