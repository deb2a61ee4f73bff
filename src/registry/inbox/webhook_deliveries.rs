//! Deliveries of a provider that are acknowledged first and processed afterwards. A delivery in
//! progress belongs to a process until its lease ends. If the process dies, another one claims the
//! delivery then.

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
use crate::sealing::{Sealer, SealingError, aad};

/// Longer reasons are truncated: they are for operators.
const LONGEST_REASON: usize = 300;

/// A new delivery.
pub struct NewDelivery<'a> {
    /// The name of the provider.
    pub provider: &'a str,
    /// The provider's id, the same in every attempt.
    pub delivery_id: &'a str,
    /// The provider's name for the kind of event.
    pub event_type: &'a str,
    /// The exact bytes of the request.
    pub body: &'a [u8],
}

fn seconds(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::zero())
}

/// Records a delivery. With `lease`, this process has claimed it. Without one, it is due at once
/// for any process. `None` if it is known already.
pub async fn record(
    db: &impl OnRegistry,
    sealer: &Sealer,
    new: &NewDelivery<'_>,
    lease: Option<Duration>,
    now: DateTime<Utc>,
) -> Result<Option<Delivery>, RegistryError> {
    let sealed = sealer.seal(&aad::webhook_delivery(new.provider, new.delivery_id), new.body)?;
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

/// Unseals the exact bytes that the provider sent. Empty after the delivery is completed.
pub fn open_body(sealer: &Sealer, delivery: &Delivery) -> Result<Vec<u8>, SealingError> {
    let sealed = delivery.sealed_body.as_deref().unwrap_or_default();
    sealer.open(&aad::webhook_delivery(&delivery.provider, &delivery.delivery_id), sealed)
}

/// Claims up to `limit` due deliveries for `lease`. No two processes claim the same one.
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

/// Matches the delivery only if no other process has claimed it meanwhile.
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

/// Completes a delivery and deletes its body, which is not needed any more. `remark` is a note for
/// operators.
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

/// Postpones the next attempt. `attempts` is the number of attempts that count so far.
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

/// Gives up a delivery. It stays for an operator to look at.
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

/// Makes a failed delivery due at once, as if it had just come. `false` if it has not failed.
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

/// The delivery with this id.
pub async fn find(
    db: &impl OnRegistry,
    provider: &str,
    delivery_id: &str,
) -> Result<Option<Delivery>, RegistryError> {
    Ok(Entity::find_by_id((provider.to_owned(), delivery_id.to_owned())).one(db).await?)
}

/// The newest deliveries. With `status`, only deliveries in that status.
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

/// Deletes deliveries that completed before one time, and deliveries that failed before the other.
/// Until then a repeated delivery is recognised, and a failed one can be replayed.
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
