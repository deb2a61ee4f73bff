//! Roles and what they permit. The four built-in ones come with the template; a tenant may change them.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::entities::roles::{Column, Entity};
use crate::tenant_router::OnTenant;

/// The role of whoever registered the tenant.
pub const OWNER: &str = "owner";

/// The built-in roles, each with its permissions; the template is preseeded with them.
pub const BUILT_IN: &[(&str, &[&str])] = &[
    (
        OWNER,
        &[
            "tenant:manage",
            "staff:manage",
            "members:read",
            "members:write",
            "conversations:read",
            "conversations:write",
            "messages:send",
            "audit:read",
            "export:run",
        ],
    ),
    (
        "admin",
        &[
            "staff:manage",
            "members:read",
            "members:write",
            "conversations:read",
            "conversations:write",
            "messages:send",
            "audit:read",
        ],
    ),
    (
        "editor",
        &[
            "members:read",
            "members:write",
            "conversations:read",
            "conversations:write",
            "messages:send",
        ],
    ),
    ("viewer", &["members:read", "conversations:read"]),
];

/// What a role permits; nothing where the role does not exist.
pub async fn permissions_of(db: &impl OnTenant, role: &str) -> Result<Vec<String>, sea_orm::DbErr> {
    let row = Entity::find().filter(Column::Name.eq(role)).one(db).await?;
    Ok(row.map(|role| role.permissions).unwrap_or_default())
}
