//! Events of a provider that wait for their tenant. The provider's bytes are sealed. Of the numbers
//! in them only keyed hashes are kept, which is enough to find the events of a number once it is
//! assigned.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::extension::postgres::PgExpr;
use sea_orm::sea_query::{Condition, Expr, ExprTrait, LockBehavior, LockType, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use crate::identifiers::new_id;
use crate::registry::entities::parked_events::{ActiveModel, Column, Entity};
pub use crate::registry::entities::parked_events::{Model as ParkedEvent, Status};
use crate::registry::tenants::phone_numbers::EventTime;
use crate::registry::{OnRegistry, RegistryError};
use crate::sealing::{Sealer, SealingError, aad};

/// Ids in one statement. The protocol allows 65,535 values.
const MOST_VALUES: usize = 10_000;

/// An event that is to be parked.
pub struct NewParkedEvent<'a> {
    /// The provider that sent the event: `telnyx`.
    pub provider: &'a str,
    /// The provider's id of the event, with a keyed hash of its content: different content under
    /// the same id is a different event.
    pub provider_event_id: &'a str,
    /// The exact bytes of the request.
    pub body: &'a [u8],
    /// Keyed hashes of the numbers by which a tenant may be found.
    pub number_hashes: Vec<Vec<u8>>,
    /// Why it could not be delivered.
    pub reason: &'a str,
    /// `Failed` for an event that only an operator can help.
    pub status: Status,
    /// When it happened, by its sender's clock. `None` if the event does not say it.
    pub occurred_at: Option<DateTime<Utc>>,
}

/// Parks an event. An event that waits already stays as it is. An event that was given up waits
/// again, because its delivery was requested.
pub async fn park(
    db: &impl OnRegistry,
    sealer: &Sealer,
    event: NewParkedEvent<'_>,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let id = new_id();
    let row = ActiveModel {
        id: Set(id),
        provider: Set(event.provider.to_owned()),
        provider_event_id: Set(event.provider_event_id.to_owned()),
        sealed_body: Set(sealer.seal(&aad::parked_event(id), event.body)?),
        number_hashes: Set(event.number_hashes),
        reason: Set(event.reason.to_owned()),
        status: Set(event.status),
        attempts: Set(0),
        next_attempt_at: Set(now + TimeDelta::seconds(1)),
        received_at: Set(now),
        occurred_at: Set(event.occurred_at),
        updated_at: Set(now),
    };
    let revived = [Column::Status, Column::Attempts, Column::NextAttemptAt, Column::Reason];
    let once = OnConflict::columns([Column::Provider, Column::ProviderEventId])
        .update_columns(revived)
        .action_and_where(Column::Status.eq(Status::Failed))
        .to_owned();
    Entity::insert(row).on_conflict(once).exec_without_returning(db).await?;
    Ok(())
}

/// Unseals the exact bytes that the provider sent.
pub fn open_body(sealer: &Sealer, event: &ParkedEvent) -> Result<Vec<u8>, SealingError> {
    sealer.open(&aad::parked_event(event.id), &event.sealed_body)
}

/// Claims up to `limit` due events and postpones their next attempt by `lease`. If this process
/// dies, another one claims them then. No two replicas claim the same event.
pub async fn claim_due(
    db: &impl OnRegistry,
    limit: u64,
    lease: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<ParkedEvent>, RegistryError> {
    let due = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Status.eq(Status::Waiting))
        .filter(Column::NextAttemptAt.lte(now))
        .order_by_asc(Column::NextAttemptAt)
        .limit(limit)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    let until = now + TimeDelta::from_std(lease).unwrap_or(TimeDelta::zero());
    Ok(Entity::update_many()
        .set(ActiveModel {
            next_attempt_at: Set(until),
            updated_at: Set(now),
            ..Default::default()
        })
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(Column::Id.in_subquery(sea_orm::QueryTrait::into_query(due)))
        .exec_with_returning(db)
        .await?)
}

/// Removes an event that has reached its tenant.
pub async fn delivered(db: &impl OnRegistry, event: &ParkedEvent) -> Result<(), RegistryError> {
    Entity::delete_many().filter(as_claimed(event)).exec(db).await?;
    Ok(())
}

/// Matches the event only if it has not been changed since it was claimed, by another replica after
/// the lease or by an assignment of its number.
fn as_claimed(event: &ParkedEvent) -> Condition {
    Condition::all()
        .add(Column::Id.eq(event.id))
        .add(Column::NextAttemptAt.eq(event.next_attempt_at))
}

/// Postpones the next attempt. `attempts` is the number of attempts for this reason.
pub async fn postpone(
    db: &impl OnRegistry,
    event: &ParkedEvent,
    until: DateTime<Utc>,
    reason: &str,
    attempts: i32,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        next_attempt_at: Set(until),
        reason: Set(reason.to_owned()),
        attempts: Set(attempts),
        ..Default::default()
    };
    Entity::update_many().set(row).filter(as_claimed(event)).exec(db).await?;
    Ok(())
}

/// Gives up an event. It stays for an operator to look at.
pub async fn fail(
    db: &impl OnRegistry,
    event: &ParkedEvent,
    reason: &str,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        status: Set(Status::Failed),
        reason: Set(reason.to_owned()),
        ..Default::default()
    };
    Entity::update_many().set(row).filter(as_claimed(event)).exec(db).await?;
    Ok(())
}

/// Makes due at once the waiting events of a number that has just been assigned, if they belong to
/// its new holder. Returns their number.
pub async fn make_due(
    db: &impl OnRegistry,
    number_hash: Vec<u8>,
    comes: impl Fn(EventTime) -> bool,
    now: DateTime<Utc>,
) -> Result<u64, RegistryError> {
    let waiting = Condition::all()
        .add(Column::Status.eq(Status::Waiting))
        .add(Expr::col(Column::NumberHashes).contains(Expr::val(vec![number_hash])));
    let times: Vec<(Uuid, DateTime<Utc>, Option<DateTime<Utc>>)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::ReceivedAt, Column::OccurredAt])
        .filter(waiting.clone())
        .into_tuple()
        .all(db)
        .await?;
    let ids = times.into_iter().filter_map(|(id, received_at, occurred_at)| {
        let occurred_at = occurred_at.unwrap_or(received_at);
        comes(EventTime { occurred_at, received_at }).then_some(id)
    });
    let ids: Vec<Uuid> = ids.collect();
    let mut count = 0;
    for ids in ids.chunks(MOST_VALUES) {
        let made_due = Entity::update_many()
            .set(ActiveModel { next_attempt_at: Set(now), ..Default::default() })
            .filter(waiting.clone())
            .filter(Column::Id.is_in(ids.iter().copied()))
            .exec(db)
            .await?;
        count += made_due.rows_affected;
    }
    Ok(count)
}

/// All parked events, the oldest first.
pub async fn list(db: &impl OnRegistry) -> Result<Vec<ParkedEvent>, RegistryError> {
    Ok(Entity::find().order_by_asc(Column::ReceivedAt).all(db).await?)
}
