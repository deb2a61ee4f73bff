use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "conversation_messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub conversation_id: Uuid,
    pub direction: String,
    pub subject: Option<String>,
    pub body: String,
    #[sea_orm(column_type = "JsonBinary")]
    pub media: Json,
    pub status: String,
    pub segments: i32,
    pub provider_message_id: Option<String>,
    pub error: Option<String>,
    pub sent_by: Option<Uuid>,
    pub occurred_at: DateTimeUtc,
    pub created_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
