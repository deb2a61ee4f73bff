use crate::identifiers::{RunId, TenantId};
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "provisioning_runs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: RunId,
    pub kind: Kind,
    pub version: i32,
    pub tenant_id: TenantId,
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

/// The purpose of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Creates a tenant and all its resources.
    CreateTenant,
    /// Notifies hooks of a tenant that has become active.
    AnnounceTenant,
    /// Removes a deleted tenant for good.
    PurgeTenant,
    /// Repairs a tenant that is damaged or whose creation failed.
    ReprovisionTenant,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not begun: it waits for a worker.
    Pending,
    /// Its steps are in progress.
    Running,
    /// Every step is done.
    Completed,
    /// A step failed, and the completed steps are being undone.
    Compensating,
    /// All its steps were undone.
    Failed,
}

impl Status {
    /// True while the run has not ended.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Running | Self::Compensating)
    }
}
