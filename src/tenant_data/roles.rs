//! Roles and their permissions. The template has four built-in roles. A tenant may change the
//! permissions of three of them, and add roles of its own.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter, QuerySelect,
};
use uuid::Uuid;

pub use super::entities::roles::Model as Role;
use super::entities::roles::{ActiveModel, Column, Entity};
use super::rights::{self, Rights};
use crate::identifiers::new_id;
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::postgres::failure;
use crate::tenant_router::{OnTenant, TenantTransaction};

/// The role of the person who registered the tenant.
pub const OWNER: &str = "owner";

impl Rights {
    /// True if the caller may give this role or take it away: nobody gives permissions that they
    /// lack.
    pub fn includes(&self, role: &Role) -> bool {
        let all = role.permissions.iter().all(|name| self.permissions.contains(name));
        all && (self.is_owner || role.name != OWNER)
    }
}

/// The built-in roles, each with its permissions. They are part of the seed.
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

/// Why a role could not be written or removed.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// No role has this id.
    #[error("there is no such role")]
    NotFound,
    /// Another role of the tenant has this name.
    #[error("another role has this name")]
    NameTaken,
    /// A member of staff has the role.
    #[error("somebody has this role")]
    InUse,
    /// A built-in role cannot be removed or renamed, and the owner role cannot lose permissions.
    #[error("a built-in role stays")]
    BuiltIn,
    /// The role has a permission that the caller lacks.
    #[error("the role permits more than its giver may")]
    PrivilegeEscalation,
    /// The change gives a permission that allows to give rights.
    #[error("whoever changes this has to prove once more who they are")]
    StepUpRequired,
    /// A statement or the connection to the tenant's database failed.
    #[error(transparent)]
    Database(#[from] DbErr),
}

fn refused(error: DbErr) -> RoleError {
    match failure::violated_unique_constraint(&error) {
        Some("roles_name_key") => RoleError::NameTaken,
        _ => error.into(),
    }
}

/// One page of the roles, newest first.
pub async fn list(db: &impl OnTenant, page: PageRequest) -> Result<Page<Role>, DbErr> {
    let position = |row: &Role| Position { at: row.created_at, id: row.id };
    newest_first(db, Entity::find(), page, position).await
}

/// The role with this name.
pub async fn find_by_name(db: &impl OnTenant, name: &str) -> Result<Option<Role>, DbErr> {
    Entity::find().filter(Column::Name.eq(name)).one(db).await
}

/// Locks a role: until the transaction ends nobody else can change it or give it to a person.
async fn lock(transaction: &TenantTransaction, id: Uuid) -> Result<Role, RoleError> {
    let found = Entity::find_by_id(id).lock_exclusive().one(transaction).await?;
    found.ok_or(RoleError::NotFound)
}

/// Adds a role to the tenant's own roles.
pub async fn create(
    transaction: &TenantTransaction,
    name: String,
    permissions: Vec<String>,
    by: &Rights,
    now: DateTime<Utc>,
) -> Result<Role, RoleError> {
    let id = new_id();
    let role = Role { id, name, permissions, built_in: false, created_at: now, updated_at: now };
    if !by.includes(&role) {
        return Err(RoleError::PrivilegeEscalation);
    }
    let row = role.into_active_model().reset_all();
    Entity::insert(row).exec_with_returning(transaction).await.map_err(refused)
}

/// Changes the given values. Returns the role, and whether anything changed. New permissions take
/// effect within seconds.
pub async fn change(
    transaction: &TenantTransaction,
    id: Uuid,
    (name, permissions): (Option<String>, Option<Vec<String>>),
    by: &Rights,
    now: DateTime<Utc>,
) -> Result<(Role, bool), RoleError> {
    let before = lock(transaction, id).await?;
    let after = Role {
        name: name.unwrap_or_else(|| before.name.clone()),
        permissions: permissions.unwrap_or_else(|| before.permissions.clone()),
        updated_at: now,
        ..before.clone()
    };
    let is_renamed = after.name != before.name;
    if before.built_in && (is_renamed || before.name == OWNER) {
        return Err(RoleError::BuiltIn);
    }
    if !by.includes(&before) || !by.includes(&after) {
        return Err(RoleError::PrivilegeEscalation);
    }
    let given = after.permissions.iter().filter(|name| !before.permissions.contains(name));
    if rights::grants_rights(&given.cloned().collect::<Vec<_>>()) && !by.has_stepped_up {
        return Err(RoleError::StepUpRequired);
    }
    if !is_renamed && after.permissions == before.permissions {
        return Ok((before, false));
    }
    let mut row = ActiveModel { updated_at: Set(now), ..Default::default() };
    row.name = Set(after.name);
    row.permissions = Set(after.permissions);
    let changed = Entity::update_many().set(row).filter(Column::Id.eq(id));
    let changed = changed.exec_with_returning(transaction).await.map_err(refused)?;
    Ok((changed.into_iter().next().ok_or(RoleError::NotFound)?, true))
}

/// Removes a role that no member of staff has.
pub async fn remove(
    transaction: &TenantTransaction,
    id: Uuid,
    by: &Rights,
) -> Result<Role, RoleError> {
    let role = lock(transaction, id).await?;
    if role.built_in {
        return Err(RoleError::BuiltIn);
    }
    if !by.includes(&role) {
        return Err(RoleError::PrivilegeEscalation);
    }
    // 23503: a foreign key still refers to this row.
    let removed = Entity::delete_by_id(id).exec(transaction).await;
    removed.map_err(|e| match failure::sqlstate(&e).as_deref() {
        Some("23503") => RoleError::InUse,
        _ => e.into(),
    })?;
    Ok(role)
}
