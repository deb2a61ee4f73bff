//! Branches: the places a church meets in.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter};
use uuid::Uuid;

pub use super::entities::branches::Model as Branch;
use super::entities::branches::{ActiveModel, Column, Entity};
use crate::identifiers::new_id;
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::postgres::failure;
use crate::tenant_router::OnTenant;

/// Why a branch could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BranchError {
    /// There is no such branch.
    #[error("there is no such branch")]
    NotFound,
    /// Another branch has the name.
    #[error("another branch has this name")]
    NameTaken,
    /// Members belong to the branch.
    #[error("members belong to this branch")]
    HasMembers,
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// What can be set on a branch.
#[derive(Clone, Debug, Default)]
pub struct BranchChanges {
    /// Unique among the tenant's branches.
    pub name: Option<String>,
    /// IANA name.
    pub timezone: Option<&'static str>,
}

impl BranchChanges {
    /// Is nothing to be set?
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

/// Branches, newest first.
pub async fn list(db: &impl OnTenant, page: PageRequest) -> Result<Page<Branch>, DbErr> {
    let position = |row: &Branch| Position { at: row.created_at, id: row.id };
    newest_first(db, Entity::find(), page, position).await
}

/// Adds a branch.
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

/// One branch.
pub async fn find(db: &impl OnTenant, id: Uuid) -> Result<Branch, BranchError> {
    Entity::find_by_id(id).one(db).await?.ok_or(BranchError::NotFound)
}

/// Changes what is given.
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

/// Removes a branch that no member belongs to.
pub async fn delete(db: &impl OnTenant, id: Uuid) -> Result<(), BranchError> {
    // 23503: a foreign key still points here.
    let deleted =
        Entity::delete_by_id(id).exec(db).await.map_err(|e| {
            match failure::sqlstate(&e).as_deref() {
                Some("23503") => BranchError::HasMembers,
                _ => e.into(),
            }
        })?;
    if deleted.rows_affected == 0 { Err(BranchError::NotFound) } else { Ok(()) }
}
