//! Deliveries of a provider that are answered first and worked on afterwards. One that is being worked on belongs to
//! a process until its lease ends; should the process die, another takes it up then.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, LockBehavior, LockType, OnConflict};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait,
};

use crate::registry::entities::webhook_deliveries::{ActiveModel, Column, Entity};
pub use crate::registry::entities::webhook_deliveries::{Model as Delivery, Status};
use crate::registry::{OnRegistry, RegistryError};
use crate::sealing::{Sealer, SealingError};

/// Longer reasons are cut: they are for people.
const LONGEST_REASON: usize = 300;

/// A delivery that has just come in.
pub struct NewDelivery<'a> {
    /// Who delivers.
    pub provider: &'a str,
    /// The provider's id, the same in every attempt.
    pub delivery_id: &'a str,
    /// What kind of event it is.
    pub event_type: &'a str,
    /// The exact bytes received.
    pub body: &'a [u8],
}

fn aad(provider: &str, delivery_id: &str) -> String {
    format!("webhook_deliveries.body/{provider}/{delivery_id}")
}

fn seconds(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::zero())
}

/// Records a delivery: claimed for `lease` by the process that records it, or without one due at once for whoever
/// comes first. `None`: it is known already.
pub async fn record(
    db: &impl OnRegistry,
    sealer: &Sealer,
    new: &NewDelivery<'_>,
    lease: Option<Duration>,
    now: DateTime<Utc>,
) -> Result<Option<Delivery>, RegistryError> {
    let sealed = sealer.seal(&aad(new.provider, new.delivery_id), new.body)?;
    let delivery = Delivery {
        provider: new.provider.to_owned(),
        delivery_id: new.delivery_id.to_owned(),
        event_type: new.event_type.to_owned(),
        sealed_body: Some(sealed),
        status: Status::Processing,
        attempts: i32::from(lease.is_some()),
        next_attempt_at: now + seconds(lease.unwrap_or_default()),
        reason: None,
        received_at: now,
        finished_at: None,
    };
    let once = OnConflict::columns([Column::Provider, Column::DeliveryId]).do_nothing().to_owned();
    let row = delivery.clone().into_active_model().reset_all();
    let written = Entity::insert(row).on_conflict(once).exec_without_returning(db).await?;
    Ok((written > 0).then_some(delivery))
}

/// The exact bytes that the provider sent; none once the delivery is completed.
pub fn open_body(sealer: &Sealer, delivery: &Delivery) -> Result<Vec<u8>, SealingError> {
    let sealed = delivery.sealed_body.as_deref().unwrap_or_default();
    sealer.open(&aad(&delivery.provider, &delivery.delivery_id), sealed)
}

/// Takes up to `limit` deliveries whose next attempt is due, for `lease`. No two processes take the same one.
pub async fn claim_due(
    db: &impl OnRegistry,
    provider: &str,
    limit: u64,
    lease: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<Delivery>, RegistryError> {
    let due = Entity::find()
        .select_only()
        .column(Column::DeliveryId)
        .filter(Column::Provider.eq(provider))
        .filter(Column::Status.eq(Status::Processing))
        .filter(Column::NextAttemptAt.lte(now))
        .order_by_asc(Column::NextAttemptAt)
        .limit(limit)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    Ok(Entity::update_many()
        .set(ActiveModel { next_attempt_at: Set(now + seconds(lease)), ..Default::default() })
        .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
        .filter(Column::Provider.eq(provider))
        .filter(Column::DeliveryId.in_subquery(due.into_query()))
        .exec_with_returning(db)
        .await?)
}

/// The delivery, as long as nobody else has taken it up since it was claimed.
fn as_claimed(delivery: &Delivery) -> Condition {
    Condition::all()
        .add(Column::Provider.eq(&delivery.provider))
        .add(Column::DeliveryId.eq(&delivery.delivery_id))
        .add(Column::Status.eq(Status::Processing))
        .add(Column::NextAttemptAt.eq(delivery.next_attempt_at))
}

async fn change(
    db: &impl OnRegistry,
    delivery: &Delivery,
    row: ActiveModel,
) -> Result<(), RegistryError> {
    Entity::update_many().set(row).filter(as_claimed(delivery)).exec(db).await?;
    Ok(())
}

fn short(reason: &str) -> Option<String> {
    Some(reason.chars().take(LONGEST_REASON).collect())
}

/// All of it is done that can be. The body is not needed any more, and goes. `remark`: what a person should know of it.
pub async fn complete(
    db: &impl OnRegistry,
    delivery: &Delivery,
    remark: Option<String>,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        status: Set(Status::Completed),
        sealed_body: Set(None),
        reason: Set(remark),
        finished_at: Set(Some(now)),
        ..Default::default()
    };
    change(db, delivery, row).await
}

/// Puts the next attempt off. `attempts`: how many count so far.
pub async fn postpone(
    db: &impl OnRegistry,
    delivery: &Delivery,
    until: DateTime<Utc>,
    reason: &str,
    attempts: i32,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        next_attempt_at: Set(until),
        reason: Set(short(reason)),
        attempts: Set(attempts),
        ..Default::default()
    };
    change(db, delivery, row).await
}

/// Gives up: it stays, for a person to look at.
pub async fn fail(
    db: &impl OnRegistry,
    delivery: &Delivery,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        status: Set(Status::Failed),
        reason: Set(short(reason)),
        finished_at: Set(Some(now)),
        ..Default::default()
    };
    change(db, delivery, row).await
}

/// Takes a failed delivery up again, due at once and as if it had just come. `false`: it has not failed.
pub async fn replay(
    db: &impl OnRegistry,
    delivery: &Delivery,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let row = ActiveModel {
        status: Set(Status::Processing),
        attempts: Set(0),
        next_attempt_at: Set(now),
        finished_at: Set(None),
        ..Default::default()
    };
    let replayed = Entity::update_many()
        .set(row)
        .filter(Column::Provider.eq(&delivery.provider))
        .filter(Column::DeliveryId.eq(&delivery.delivery_id))
        .filter(Column::Status.eq(Status::Failed))
        .exec(db)
        .await?;
    Ok(replayed.rows_affected == 1)
}

/// One delivery.
pub async fn find(
    db: &impl OnRegistry,
    provider: &str,
    delivery_id: &str,
) -> Result<Option<Delivery>, RegistryError> {
    Ok(Entity::find_by_id((provider.to_owned(), delivery_id.to_owned())).one(db).await?)
}

/// The newest deliveries, of one status where one is named.
pub async fn list(
    db: &impl OnRegistry,
    status: Option<Status>,
    limit: u64,
) -> Result<Vec<Delivery>, RegistryError> {
    let mut query = Entity::find()
        .order_by_desc(Column::ReceivedAt)
        .order_by_asc(Column::DeliveryId)
        .limit(limit);
    if let Some(status) = status {
        query = query.filter(Column::Status.eq(status));
    }
    Ok(query.all(db).await?)
}

/// Forgets deliveries that completed, and that failed, before these moments. Until then a repeat is known as one, and a
/// failed one can be replayed.
pub async fn forget_finished(
    db: &impl OnRegistry,
    completed_before: DateTime<Utc>,
    failed_before: DateTime<Utc>,
) -> Result<u64, RegistryError> {
    let finished = |status, before| {
        Condition::all().add(Column::Status.eq(status)).add(Column::FinishedAt.lt(before))
    };
    let over = Condition::any()
        .add(finished(Status::Completed, completed_before))
        .add(finished(Status::Failed, failed_before));
    Ok(Entity::delete_many().filter(over).exec(db).await?.rows_affected)
}
