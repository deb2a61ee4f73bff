//! Sessions of operators. An access token lives as long as its session.

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

/// How long an ended session is kept. The addresses of kept sessions are known addresses of the
/// operator.
const REMEMBERED: TimeDelta = TimeDelta::days(30);
/// The largest number of known addresses.
const ADDRESSES_AT_MOST: u64 = 50;

/// A session to be opened.
pub struct NewSession {
    /// The session id, `sid` of its token.
    pub id: Uuid,
    /// The operator's id.
    pub operator: Uuid,
    /// The address of the client.
    pub ip: Option<IpAddr>,
    /// The `User-Agent` header of the client.
    pub user_agent: Option<String>,
    /// When the session expires.
    pub expires_at: DateTime<Utc>,
}

/// Opens a session, and removes sessions that ended long ago.
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

/// The operator of a session, as their row is now. `None` if the session has ended, belongs to
/// another operator, or the operator is disabled.
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

/// Ends a session of an operator.
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

/// Ends the sessions of an operator, except `but`, and all step-ups of the operator.
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

/// The addresses of an operator's present and past sessions.
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
