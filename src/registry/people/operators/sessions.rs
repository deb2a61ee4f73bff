//! Sessions of operators. An access token lives as long as its session, and no longer.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::{Operator, Status, find};
use crate::registry::entities::operator_sessions::{ActiveModel, Column, Entity};
use crate::registry::people::step_ups;
use crate::registry::{OnRegistry, RegistryError};

/// What is over is kept for so long: an operator is at home where they were signed in.
const REMEMBERED: TimeDelta = TimeDelta::days(30);
/// Nobody is at home in more places.
const ADDRESSES_AT_MOST: u64 = 50;

/// A session that is to be.
pub struct NewSession {
    /// `sid` of its token.
    pub id: Uuid,
    /// Whose.
    pub operator: Uuid,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what client.
    pub user_agent: Option<String>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// Opens a session, and removes what has long been over.
pub async fn open(
    db: &impl OnRegistry,
    new: NewSession,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    Entity::delete_many().filter(Column::ExpiresAt.lte(now - REMEMBERED)).exec(db).await?;
    let row = ActiveModel {
        id: Set(new.id),
        operator_id: Set(new.operator),
        created_at: Set(now),
        expires_at: Set(new.expires_at),
        ip: Set(new.ip.map(|ip| ip.to_string())),
        user_agent: Set(new.user_agent),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}

/// Who is in a session, as they are now. `None`: it is over, is not theirs, or they may not sign in any more.
pub async fn operator_in(
    db: &impl OnRegistry,
    session: Uuid,
    operator: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Operator>, RegistryError> {
    let found = Entity::find_by_id(session)
        .filter(Column::OperatorId.eq(operator))
        .filter(Column::ExpiresAt.gt(now))
        .one(db)
        .await?;
    if found.is_none() {
        return Ok(None);
    }
    Ok(find(db, operator).await?.filter(|operator| operator.status == Status::Active))
}

/// Ends a session.
pub async fn end(
    db: &impl OnRegistry,
    session: Uuid,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let theirs = Column::Id.eq(session).and(Column::ExpiresAt.gt(now));
    Entity::update_many().set(over(now)).filter(theirs).exec(db).await?;
    Ok(())
}

fn over(now: DateTime<Utc>) -> ActiveModel {
    ActiveModel { expires_at: Set(now), ..Default::default() }
}

/// Ends the sessions of an operator, but perhaps for one, and what was proven in it.
pub async fn end_all(
    db: &impl OnRegistry,
    operator: Uuid,
    but: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let theirs = Column::OperatorId.eq(operator).and(Column::ExpiresAt.gt(now));
    let mut ended = Entity::update_many().set(over(now)).filter(theirs);
    if let Some(but) = but {
        ended = ended.filter(Column::Id.ne(but));
    }
    ended.exec(db).await?;
    step_ups::forget(db, operator).await
}

/// The addresses from which an operator has, or had, sessions.
pub async fn addresses_of(
    db: &impl OnRegistry,
    operator: Uuid,
) -> Result<Vec<IpAddr>, RegistryError> {
    let sessions = Entity::find()
        .filter(Column::OperatorId.eq(operator))
        .order_by_desc(Column::CreatedAt)
        .limit(ADDRESSES_AT_MOST)
        .all(db)
        .await?;
    Ok(sessions.into_iter().filter_map(|session| session.ip?.parse().ok()).collect())
}
