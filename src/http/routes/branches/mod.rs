//! `/v1/branches`: the places where a church meets.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod update;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::messaging::branches::Branch;

#[derive(Serialize, ToSchema)]
pub(crate) struct BranchDocument {
    id: Uuid,
    name: String,
    /// IANA name of the time zone.
    timezone: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Branch> for BranchDocument {
    fn from(branch: Branch) -> Self {
        Self {
            id: branch.id,
            name: branch.name,
            timezone: branch.timezone,
            created_at: branch.created_at,
            updated_at: branch.updated_at,
        }
    }
}
