//! Impersonation sessions: operators who act in a tenant for a limited time, with a reason.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait, ColumnTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter};
use uuid::Uuid;

pub use super::entities::impersonations::Model as Impersonation;
use super::entities::impersonations::{Column, Entity};
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::tenant_router::OnTenant;

/// Adds a session, which is open at once.
pub async fn add(db: &impl OnTenant, new: Impersonation) -> Result<(), DbErr> {
    Entity::insert(new.into_active_model().reset_all()).exec_without_returning(db).await?;
    Ok(())
}

/// All sessions, ended ones included, newest first.
pub async fn list(db: &impl OnTenant, page: PageRequest) -> Result<Page<Impersonation>, DbErr> {
    let position = |row: &Impersonation| Position { at: row.created_at, id: row.id };
    newest_first(db, Entity::find(), page, position).await
}

/// Ends a session. Returns it, and whether it was not ended before. `None`: no session has this id.
pub async fn revoke(
    db: &impl OnTenant,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<(Impersonation, bool)>, DbErr> {
    let revoked = Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(now))
        .filter(Column::Id.eq(id))
        .filter(Column::RevokedAt.is_null())
        .exec_with_returning(db)
        .await?;
    match revoked.into_iter().next() {
        Some(ended) => Ok(Some((ended, true))),
        None => Ok(Entity::find_by_id(id).one(db).await?.map(|ended| (ended, false))),
    }
}
