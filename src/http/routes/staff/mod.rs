//! `/v1/staff`: the people who administer a tenant.

pub(crate) mod change;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod list;
pub(crate) mod remove;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::tenant_data::staff::{StaffMember, StaffStatus};

/// A member of staff as staff managers see them.
#[derive(Serialize, ToSchema)]
pub(crate) struct StaffDocument {
    id: Uuid,
    email: String,
    first_name: String,
    last_name: String,
    /// Name of the person's role.
    role: String,
    /// `invited`, `active` or `disabled`.
    #[schema(value_type = String, example = "active")]
    status: StaffStatus,
    mfa_enabled: bool,
    email_verified: bool,
    last_login_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl From<StaffMember> for StaffDocument {
    fn from(user: StaffMember) -> Self {
        Self {
            id: user.id,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            role: user.role,
            status: user.status,
            mfa_enabled: user.mfa_enabled,
            email_verified: user.email_verified_at.is_some(),
            last_login_at: user.last_login_at,
            created_at: user.created_at,
        }
    }
}
