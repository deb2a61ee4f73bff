//! Sessions of staff, and the refresh tokens that prolong them. Only the SHA-256 of a token is
//! stored.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::{Expr, LockBehavior, LockType};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QuerySelect,
};
use uuid::Uuid;

pub use super::entities::sessions::Model as Session;
use super::entities::{refresh_tokens, sessions};
use crate::audit::Client;
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::tenant_router::{OnTenant, TenantTransaction};

/// Ended sessions are kept for this long: an interrupted logout is repeated sooner.
const KEPT_AFTER_ITS_END: TimeDelta = TimeDelta::days(1);
/// Ended sessions that one login removes at most. Each login adds one session, so that the number
/// of old rows falls.
const REMOVED_AT_ONCE: u64 = 100;

/// A refresh token that is used again within this time returns the same successor: two tabs renewed
/// at once, or an answer was lost. After the successor was used, only a copied token explains the
/// use of the older one.
pub const REUSE_WINDOW: TimeDelta = TimeDelta::seconds(10);

/// Addresses that are read; a person has no more sessions in practice.
const ADDRESSES_AT_MOST: u64 = 200;

/// The values of a new session.
pub struct NewSession<'a> {
    /// Id, which is also the `sid` of its access tokens.
    pub id: Uuid,
    /// Id of the member of staff.
    pub staff: Uuid,
    /// The client that signs in.
    pub client: &'a Client,
    /// SHA-256 of its first refresh token.
    pub token_hash: Vec<u8>,
    /// When the session ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// Opens a session with its first refresh token, and removes some sessions that ended long ago.
pub async fn open(
    transaction: &TenantTransaction,
    new: NewSession<'_>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let NewSession { id, staff, client, token_hash, expires_at } = new;
    let session = sessions::ActiveModel {
        id: Set(id),
        staff_id: Set(staff),
        created_at: Set(now),
        last_used_at: Set(now),
        expires_at: Set(expires_at),
        revoked_at: Set(None),
        ip: Set(Some(client.ip.to_string())),
        user_agent: Set(client.user_agent.clone()),
    };
    sessions::Entity::insert(session).exec_without_returning(transaction).await?;
    add_token(transaction, id, token_hash, now).await?;
    remove_ended(transaction, now).await
}

/// Removes ended sessions. Rows that another transaction has locked are skipped.
async fn remove_ended(transaction: &TenantTransaction, now: DateTime<Utc>) -> Result<(), DbErr> {
    let ended: Vec<Uuid> = sessions::Entity::find()
        .select_only()
        .column(sessions::Column::Id)
        .filter(Expr::cust_with_values(
            "LEAST(expires_at, revoked_at) < $1",
            [now - KEPT_AFTER_ITS_END],
        ))
        .limit(REMOVED_AT_ONCE)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .into_tuple()
        .all(transaction)
        .await?;
    if !ended.is_empty() {
        let theirs = sessions::Column::Id.is_in(ended);
        sessions::Entity::delete_many().filter(theirs).exec(transaction).await?;
    }
    Ok(())
}

/// The open sessions of a member of staff, newest first.
pub async fn list(
    db: &impl OnTenant,
    staff: Uuid,
    now: DateTime<Utc>,
    page: PageRequest,
) -> Result<Page<Session>, DbErr> {
    let theirs = sessions::Entity::find()
        .filter(sessions::Column::StaffId.eq(staff))
        .filter(sessions::Column::RevokedAt.is_null())
        .filter(sessions::Column::ExpiresAt.gt(now));
    let position = |row: &Session| Position { at: row.created_at, id: row.id };
    newest_first(db, theirs, page, position).await
}

/// True if this session of a member of staff is open.
pub async fn is_open(
    db: &impl OnTenant,
    staff: Uuid,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let found = sessions::Entity::find_by_id(id)
        .filter(sessions::Column::StaffId.eq(staff))
        .filter(sessions::Column::RevokedAt.is_null())
        .filter(sessions::Column::ExpiresAt.gt(now))
        .one(db)
        .await?;
    Ok(found.is_some())
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

/// The addresses from which the open sessions of a member of staff were last used.
pub async fn addresses_of(
    db: &impl OnTenant,
    staff: Uuid,
    now: DateTime<Utc>,
) -> Result<Vec<IpAddr>, DbErr> {
    let page = list(db, staff, now, PageRequest { limit: ADDRESSES_AT_MOST, after: None }).await?;
    Ok(page.rows.into_iter().filter_map(|session| session.ip?.parse().ok()).collect())
}

/// The result of a refresh token's use.
#[derive(Debug, PartialEq)]
pub enum Rotation {
    /// The token was valid: the session goes on with the new token.
    Rotated(Session),
    /// The token was used a moment ago, and its successor was never used: the session goes on with
    /// the existing successor.
    Repeated(Session),
    /// The token was used before, so a copy of it exists: the session is revoked.
    Reused {
        /// The session of the token.
        session: Session,
        /// It was not revoked before.
        was_open: bool,
    },
    /// The token is unknown, or its session has expired or was revoked.
    Refused,
}

/// Replaces a refresh token by its successor, which is always the same for one token. If a token is
/// used twice at once, the row lock admits one request, and the other finds a used token: see
/// [`REUSE_WINDOW`].
pub async fn rotate(
    transaction: &TenantTransaction,
    old_hash: Vec<u8>,
    new_hash: Vec<u8>,
    client: &Client,
    now: DateTime<Utc>,
    life: TimeDelta,
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
    let is_over = session.revoked_at.is_some() || session.expires_at <= now;
    if let Some(used_at) = token.used_at {
        if !is_over && now - used_at < REUSE_WINDOW && is_unused(transaction, new_hash).await? {
            return Ok(Rotation::Repeated(session));
        }
        // A revoked session is reported too: its revocation may not have reached every replica.
        let was_open = revoke(transaction, session.id, now).await?;
        return Ok(Rotation::Reused { session, was_open });
    }
    if is_over {
        return Ok(Rotation::Refused);
    }
    refresh_tokens::Entity::update_many()
        .set(refresh_tokens::ActiveModel { used_at: Set(Some(now)), ..Default::default() })
        .filter(refresh_tokens::Column::TokenHash.eq(old_hash))
        .exec(transaction)
        .await?;
    add_token(transaction, session.id, new_hash, now).await?;
    // Tokens used so long ago are useless, also for the detection of copies.
    refresh_tokens::Entity::delete_many()
        .filter(refresh_tokens::Column::SessionId.eq(session.id))
        .filter(refresh_tokens::Column::UsedAt.lt(now - life))
        .exec(transaction)
        .await?;
    sessions::Entity::update_many()
        .set(sessions::ActiveModel {
            last_used_at: Set(now),
            expires_at: Set(now + life),
            ip: Set(Some(client.ip.to_string())),
            user_agent: Set(client.user_agent.clone()),
            ..Default::default()
        })
        .filter(sessions::Column::Id.eq(session.id))
        .exec(transaction)
        .await?;
    Ok(Rotation::Rotated(session))
}

async fn is_unused(transaction: &TenantTransaction, token_hash: Vec<u8>) -> Result<bool, DbErr> {
    let found = refresh_tokens::Entity::find_by_id(token_hash).one(transaction).await?;
    Ok(found.is_some_and(|token| token.used_at.is_none()))
}

/// The session of a refresh token, whether or not either is still valid.
pub async fn find_by_token(
    db: &impl OnTenant,
    token_hash: Vec<u8>,
) -> Result<Option<Session>, DbErr> {
    let token = refresh_tokens::Entity::find_by_id(token_hash).one(db).await?;
    let Some(token) = token else { return Ok(None) };
    sessions::Entity::find_by_id(token.session_id).one(db).await
}

/// Revokes a session, whose refresh token stops working. `false`: there is none, or it was revoked
/// before.
pub async fn revoke(db: &impl OnTenant, id: Uuid, now: DateTime<Utc>) -> Result<bool, DbErr> {
    let revoked = sessions::Entity::update_many()
        .set(sessions::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() })
        .filter(sessions::Column::Id.eq(id))
        .filter(sessions::Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    Ok(revoked.rows_affected > 0)
}

/// Revokes a session of a member of staff. Returns whether it was unrevoked until now. `None`: the
/// person has no session with this id.
pub async fn revoke_of(
    db: &impl OnTenant,
    staff: Uuid,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<bool>, DbErr> {
    let found = sessions::Entity::find_by_id(id)
        .filter(sessions::Column::StaffId.eq(staff))
        .one(db)
        .await?;
    match found {
        Some(_) => revoke(db, id, now).await.map(Some),
        None => Ok(None),
    }
}

/// Ids of the member of staff's sessions that were revoked at `since` or later.
pub async fn revoked_since(
    db: &impl OnTenant,
    staff: Uuid,
    since: DateTime<Utc>,
) -> Result<Vec<Uuid>, DbErr> {
    let revoked = sessions::Entity::find()
        .filter(sessions::Column::StaffId.eq(staff))
        .filter(sessions::Column::RevokedAt.gte(since))
        .all(db)
        .await?;
    Ok(revoked.into_iter().map(|session| session.id).collect())
}

/// Revokes every session of a member of staff, except `but`. Returns the ids of the sessions that
/// were used since `used_since`, earlier revoked ones included: after an interrupted attempt, the
/// next one names them again.
pub async fn revoke_all(
    db: &impl OnTenant,
    staff: Uuid,
    but: Option<Uuid>,
    now: DateTime<Utc>,
    used_since: DateTime<Utc>,
) -> Result<Vec<Uuid>, DbErr> {
    let others = Condition::all()
        .add(sessions::Column::StaffId.eq(staff))
        .add_option(but.map(|kept| sessions::Column::Id.ne(kept)));
    sessions::Entity::update_many()
        .set(sessions::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() })
        .filter(others.clone())
        .filter(sessions::Column::RevokedAt.is_null())
        .exec(db)
        .await?;
    let used = sessions::Entity::find()
        .filter(others)
        .filter(sessions::Column::LastUsedAt.gte(used_since))
        .all(db)
        .await?;
    Ok(used.into_iter().map(|session| session.id).collect())
}
