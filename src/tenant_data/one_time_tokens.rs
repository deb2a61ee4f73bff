//! Tokens that are sent to somebody's address and are good once. Only their SHA-256 is kept.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter};
use uuid::Uuid;

pub use super::entities::one_time_tokens::Model as OneTimeToken;
pub use super::entities::one_time_tokens::Purpose;
use super::entities::one_time_tokens::{ActiveModel, Column, Entity};
use crate::tenant_router::{OnTenant, TenantTransaction};

/// Writes one down. Older ones for the same purpose are good no more.
pub async fn add(
    transaction: &TenantTransaction,
    token_hash: Vec<u8>,
    purpose: Purpose,
    (staff, email): (Uuid, &str),
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<(), DbErr> {
    remove(transaction, staff, purpose).await?;
    let row = ActiveModel {
        token_hash: Set(token_hash),
        purpose: Set(purpose),
        staff_id: Set(staff),
        email: Set(email.to_owned()),
        created_at: Set(now),
        expires_at: Set(expires_at),
    };
    Entity::insert(row).exec_without_returning(transaction).await?;
    Ok(())
}

/// One that somebody brings. It may be used up before they take it.
pub async fn find(
    db: &impl OnTenant,
    token_hash: Vec<u8>,
    purpose: Purpose,
) -> Result<Option<OneTimeToken>, DbErr> {
    Entity::find_by_id(token_hash).filter(Column::Purpose.eq(purpose)).one(db).await
}

/// Has somebody been sent one for this purpose that is still good?
pub async fn is_any_there(
    db: &impl OnTenant,
    staff: Uuid,
    purpose: Purpose,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let found = Entity::find()
        .filter(Column::StaffId.eq(staff))
        .filter(Column::Purpose.eq(purpose))
        .filter(Column::ExpiresAt.gt(now))
        .one(db)
        .await?;
    Ok(found.is_some())
}

/// Takes one: of two who bring it, one gets it. `None`: there is none, or its time is over.
pub async fn take(
    transaction: &TenantTransaction,
    token_hash: Vec<u8>,
    purpose: Purpose,
    now: DateTime<Utc>,
) -> Result<Option<OneTimeToken>, DbErr> {
    let taken = Entity::delete_many()
        .filter(Column::TokenHash.eq(token_hash))
        .filter(Column::Purpose.eq(purpose))
        .exec_with_returning(transaction)
        .await?;
    Ok(taken.into_iter().next().filter(|token| token.expires_at > now))
}

/// None of somebody's tokens is good any more.
pub async fn remove_all(db: &impl OnTenant, staff: Uuid) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::StaffId.eq(staff)).exec(db).await?;
    Ok(())
}

/// Somebody's tokens for this purpose are good no more.
pub async fn remove(db: &impl OnTenant, staff: Uuid, purpose: Purpose) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::StaffId.eq(staff))
        .filter(Column::Purpose.eq(purpose))
        .exec(db)
        .await?;
    Ok(())
}
