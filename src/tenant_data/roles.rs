//! Roles and what they permit. The four built-in ones come with the template; a tenant may change them.

use sea_orm::sea_query::Query;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::entities::roles::{Column, Entity};
use super::entities::staff;
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

/// What a member of staff is permitted by the role that they have now; `None`: they may not call at all.
pub async fn permissions_of(db: &impl OnTenant, id: Uuid) -> Result<Option<Vec<String>>, DbErr> {
    let role = Query::select()
        .column(staff::Column::Role)
        .from(staff::Entity)
        .and_where(staff::Column::Id.eq(id))
        .and_where(staff::Column::Status.eq("active"))
        .to_owned();
    let row = Entity::find().filter(Column::Name.in_subquery(role)).one(db).await?;
    Ok(row.map(|role| role.permissions))
}
