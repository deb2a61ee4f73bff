use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What the tenant calls it.
    pub name: String,
    /// SHA-256 of the whole text.
    pub key_hash: Vec<u8>,
    /// How the text ends.
    pub hint: String,
    /// What its holder may do.
    pub permissions: Vec<String>,
    /// Who has made it; they may have left.
    pub created_by: Option<Uuid>,
    pub created_at: DateTimeUtc,
    /// From then on it is good no more.
    pub expires_at: Option<DateTimeUtc>,
    /// Since then it is good no more.
    pub revoked_at: Option<DateTimeUtc>,
    /// To the minute.
    pub last_used_at: Option<DateTimeUtc>,
    /// From where.
    pub last_used_ip: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
