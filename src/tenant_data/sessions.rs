//! Sessions of staff, and the refresh tokens that prolong them. Of a token only its SHA-256 is kept.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

pub use super::entities::sessions::Model as Session;
use super::entities::{refresh_tokens, sessions};
use crate::tenant_router::{OnTenant, TenantTransaction};

/// Opens a session with its first refresh token.
pub async fn open(
    transaction: &TenantTransaction,
    id: Uuid,
    staff: Uuid,
    token_hash: Vec<u8>,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<(), DbErr> {
    let session = sessions::ActiveModel {
        id: Set(id),
        staff_id: Set(staff),
        created_at: Set(now),
        last_used_at: Set(now),
        expires_at: Set(expires_at),
        revoked_at: Set(None),
    };
    sessions::Entity::insert(session).exec_without_returning(transaction).await?;
    add_token(transaction, id, token_hash, now).await
}

async fn add_token(
    transaction: &TenantTransaction,
    session: Uuid,
    token_hash: Vec<u8>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let token = refresh_tokens::ActiveModel {
        token_hash: Set(token_hash),
        session_id: Set(session),
        created_at: Set(now),
        used_at: Set(None),
    };
    refresh_tokens::Entity::insert(token).exec_without_returning(transaction).await?;
    Ok(())
}

/// What came of a refresh token.
#[derive(Debug, PartialEq)]
pub enum Rotation {
    /// It was good: the session goes on under the new token.
    Rotated(Session),
    /// It had been used before. Somebody has a copy: the session is revoked.
    Reused(Session),
    /// It is unknown, or its session has expired or was revoked.
    Refused,
}

/// Replaces a refresh token by a new one. Of two that bring the same token at once, one is the thief: the row's
/// lock lets one pass, and the other meets a used token.
pub async fn rotate(
    transaction: &TenantTransaction,
    old_hash: Vec<u8>,
    new_hash: Vec<u8>,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<Rotation, DbErr> {
    let token = refresh_tokens::Entity::find_by_id(old_hash.clone())
        .lock_exclusive()
        .one(transaction)
        .await?;
    let Some(token) = token else {
        return Ok(Rotation::Refused);
    };
    let session =
        sessions::Entity::find_by_id(token.session_id).lock_exclusive().one(transaction).await?;
    let Some(session) = session else { return Ok(Rotation::Refused) };
    // Also of a session that is revoked already: the revocation may not have reached every replica then.
    if token.used_at.is_some() {
        revoke(transaction, session.id, now).await?;
        return Ok(Rotation::Reused(session));
    }
    if session.revoked_at.is_some() || session.expires_at <= now {
        return Ok(Rotation::Refused);
    }
    refresh_tokens::Entity::update_many()
        .set(refresh_tokens::ActiveModel { used_at: Set(Some(now)), ..Default::default() })
        .filter(refresh_tokens::Column::TokenHash.eq(old_hash))
        .exec(transaction)
        .await?;
    add_token(transaction, session.id, new_hash, now).await?;
    sessions::Entity::update_many()
        .set(sessions::ActiveModel {
            last_used_at: Set(now),
            expires_at: Set(expires_at),
            ..Default::default()
        })
        .filter(sessions::Column::Id.eq(session.id))
        .exec(transaction)
        .await?;
    Ok(Rotation::Rotated(session))
}

/// Ends a session: its refresh token is worth nothing from now on.
pub async fn revoke(db: &impl OnTenant, id: Uuid, now: DateTime<Utc>) -> Result<(), DbErr> {
    sessions::Entity::update_many()
        .set(sessions::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() })
        .filter(sessions::Column::Id.eq(id))
        .filter(sessions::Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Ends every session of a member of staff and names those that were used since `used_since`, the ones that were
/// ended before included: should a first attempt have stopped half-way, a second one names them again.
pub async fn revoke_all(
    db: &impl OnTenant,
    staff: Uuid,
    now: DateTime<Utc>,
    used_since: DateTime<Utc>,
) -> Result<Vec<Uuid>, DbErr> {
    sessions::Entity::update_many()
        .set(sessions::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() })
        .filter(sessions::Column::StaffId.eq(staff))
        .filter(sessions::Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    let used = sessions::Entity::find()
        .filter(sessions::Column::StaffId.eq(staff))
        .filter(sessions::Column::LastUsedAt.gte(used_since))
        .all(db)
        .await?;
    Ok(used.into_iter().map(|session| session.id).collect())
}
