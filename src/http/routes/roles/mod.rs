//! `/v1/roles`: sets of permissions for staff.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod remove;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::extract::FieldErrors;
use crate::tenant_data::roles::Role;
use crate::tenant_data::seed::catalogue::PERMISSIONS;

#[derive(Serialize, ToSchema)]
pub(crate) struct RoleDocument {
    id: Uuid,
    name: String,
    permissions: Vec<String>,
    /// True for a role that every organization starts with. It cannot be renamed or removed.
    built_in: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Role> for RoleDocument {
    fn from(role: Role) -> Self {
        Self {
            id: role.id,
            name: role.name,
            permissions: role.permissions,
            built_in: role.built_in,
            created_at: role.created_at,
            updated_at: role.updated_at,
        }
    }
}

/// Checks that permissions exist. Returns each once, in a fixed order.
pub(crate) fn check_permissions(errors: &mut FieldErrors, names: &[String]) -> Option<Vec<String>> {
    let is_known = |name: &&String| PERMISSIONS.iter().any(|(known, _)| known == name);
    if let Some(position) = names.iter().position(|name| !is_known(&name)) {
        errors.add(&format!("permissions[{position}]"), "invalid", "is not a permission");
        return None;
    }
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    Some(names)
}
