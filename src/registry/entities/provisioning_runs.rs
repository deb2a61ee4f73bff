use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "provisioning_runs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub kind: Kind,
    pub version: i32,
    pub tenant_id: Uuid,
    pub status: Status,
    pub error_code: Option<String>,
    pub error_detail: Option<String>,
    pub sealed_input: Option<Vec<u8>>,
    pub fence: i64,
    pub lease_owner: Option<String>,
    pub lease_until: Option<DateTimeUtc>,
    pub next_attempt_at: DateTimeUtc,
    pub cancel_requested_at: Option<DateTimeUtc>,
    pub created_at: DateTimeUtc,
    pub finished_at: Option<DateTimeUtc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Makes a tenant with all that belongs to it.
    CreateTenant,
    /// Tells others of a tenant that has become active.
    AnnounceTenant,
    /// Removes a deleted tenant for good.
    PurgeTenant,
    /// Mends a tenant that is damaged or could not be made.
    ReprovisionTenant,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waiting for its turn.
    Pending,
    /// Its steps are being done.
    Running,
    /// Every step is done.
    Completed,
    /// A step failed, and what was done is being undone.
    Compensating,
    /// Nothing is left of it.
    Failed,
}

impl Status {
    /// Does it still go on?
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Running | Self::Compensating)
    }
}
