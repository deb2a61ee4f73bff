//! Branches: the places where a church meets.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter};
use uuid::Uuid;

pub use super::entities::branches::Model as Branch;
use super::entities::branches::{ActiveModel, Column, Entity};
use crate::identifiers::new_id;
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::postgres::failure;
use crate::tenant_router::OnTenant;

/// Why a branch could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
pub enum BranchError {
    /// No branch has this id.
    #[error("there is no such branch")]
    NotFound,
    /// Another branch of the tenant has this name.
    #[error("another branch has this name")]
    NameTaken,
    /// The branch has members, so it cannot be removed.
    #[error("members belong to this branch")]
    HasMembers,
    /// A statement or the connection to the tenant's database failed.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// A branch's new values; `None` keeps the old value.
#[derive(Clone, Debug, Default)]
pub struct BranchChanges {
    /// Name, unique among the tenant's branches.
    pub name: Option<String>,
    /// IANA name of the time zone.
    pub timezone: Option<&'static str>,
}

impl BranchChanges {
    /// True if no value is to be changed.
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.timezone.is_none()
    }
}

fn refused(error: DbErr) -> BranchError {
    match failure::violated_unique_constraint(&error) {
        Some("branches_name_key") => BranchError::NameTaken,
        _ => error.into(),
    }
}

/// One page of the branches, newest first.
pub async fn list(db: &impl OnTenant, page: PageRequest) -> Result<Page<Branch>, DbErr> {
    let position = |row: &Branch| Position { at: row.created_at, id: row.id };
    newest_first(db, Entity::find(), page, position).await
}

/// Adds a branch. The error is `NameTaken` if another one has the name.
pub async fn create(
    db: &impl OnTenant,
    name: String,
    timezone: &'static str,
    now: DateTime<Utc>,
) -> Result<Branch, BranchError> {
    let row = ActiveModel {
        id: Set(new_id()),
        name: Set(name),
        timezone: Set(timezone.to_owned()),
        created_at: Set(now),
        updated_at: Set(now),
    };
    Entity::insert(row).exec_with_returning(db).await.map_err(refused)
}

/// The branch with this id, or `NotFound`.
pub async fn find(db: &impl OnTenant, id: Uuid) -> Result<Branch, BranchError> {
    Entity::find_by_id(id).one(db).await?.ok_or(BranchError::NotFound)
}

/// Changes the given values. Returns the branch after the change.
pub async fn update(
    db: &impl OnTenant,
    id: Uuid,
    changes: BranchChanges,
    now: DateTime<Utc>,
) -> Result<Branch, BranchError> {
    if changes.is_empty() {
        return find(db, id).await;
    }
    let mut row = ActiveModel { updated_at: Set(now), ..Default::default() };
    if let Some(name) = changes.name {
        row.name = Set(name);
    }
    if let Some(timezone) = changes.timezone {
        row.timezone = Set(timezone.to_owned());
    }
    let updated = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id))
        .exec_with_returning(db)
        .await
        .map_err(refused)?;
    updated.into_iter().next().ok_or(BranchError::NotFound)
}

/// Removes a branch. The error is `HasMembers` if a member belongs to it.
pub async fn delete(db: &impl OnTenant, id: Uuid) -> Result<(), BranchError> {
    // 23503: a foreign key still refers to this row.
    let deleted =
        Entity::delete_by_id(id).exec(db).await.map_err(|e| {
            match failure::sqlstate(&e).as_deref() {
                Some("23503") => BranchError::HasMembers,
                _ => e.into(),
            }
        })?;
    if deleted.rows_affected == 0 { Err(BranchError::NotFound) } else { Ok(()) }
}
