use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Name that the tenant gave the key.
    pub name: String,
    /// SHA-256 of the whole key.
    pub key_hash: Vec<u8>,
    /// The last characters of the key.
    pub hint: String,
    /// Names of the permissions that the key has.
    pub permissions: Vec<String>,
    /// The member of staff who created it, who may have left since.
    pub created_by: Option<Uuid>,
    pub created_at: DateTimeUtc,
    /// When the key stops working; `None`: never.
    pub expires_at: Option<DateTimeUtc>,
    /// When the key was revoked.
    pub revoked_at: Option<DateTimeUtc>,
    /// Accurate to the minute.
    pub last_used_at: Option<DateTimeUtc>,
    /// Address of the last use.
    pub last_used_ip: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
