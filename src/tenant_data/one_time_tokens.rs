//! Tokens that are sent to an address and work once. Only their SHA-256 is stored.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter};
use uuid::Uuid;

pub use super::entities::one_time_tokens::Model as OneTimeToken;
pub use super::entities::one_time_tokens::Purpose;
use super::entities::one_time_tokens::{ActiveModel, Column, Entity};
use crate::tenant_router::{OnTenant, TenantTransaction};

/// Adds a token. Older tokens of the person for the same purpose are deleted.
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

/// Finds a token without using it. It may be used up before the caller takes it.
pub async fn find(
    db: &impl OnTenant,
    token_hash: Vec<u8>,
    purpose: Purpose,
) -> Result<Option<OneTimeToken>, DbErr> {
    Entity::find_by_id(token_hash).filter(Column::Purpose.eq(purpose)).one(db).await
}

/// True if the member of staff has an unexpired token for this purpose.
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

/// Uses a token up: only one of two simultaneous callers gets it. `None`: it does not exist or has
/// expired.
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

/// Deletes all tokens of a member of staff.
pub async fn remove_all(db: &impl OnTenant, staff: Uuid) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::StaffId.eq(staff)).exec(db).await?;
    Ok(())
}

/// Deletes a member of staff's tokens for this purpose.
pub async fn remove(db: &impl OnTenant, staff: Uuid, purpose: Purpose) -> Result<(), DbErr> {
    Entity::delete_many()
        .filter(Column::StaffId.eq(staff))
        .filter(Column::Purpose.eq(purpose))
        .exec(db)
        .await?;
    Ok(())
}
