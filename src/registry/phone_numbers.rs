//! Which tenant holds a phone number, and held it when. A number can pass from one tenant to another; an event
//! belongs to whoever held the number when it occurred, however late it comes.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

pub use super::entities::phone_numbers::Model as Assignment;
use super::entities::phone_numbers::{ActiveModel, Column, Entity};
use super::{OnRegistry, RegistryError};
use crate::identifiers::{PhoneNumber, TenantId, new_id};
use crate::postgres::failure;

/// Another tenant holds the number.
#[derive(Debug, PartialEq, Eq)]
pub struct NumberTaken(pub TenantId);

/// Gives a number to a tenant, from now on. Giving it to its holder again changes nothing.
pub async fn assign(
    db: &impl OnRegistry,
    number: &PhoneNumber,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<Result<(), NumberTaken>, RegistryError> {
    let row = ActiveModel {
        id: Set(new_id()),
        number: Set(number.as_str().to_owned()),
        tenant_id: Set(tenant.0),
        valid_from: Set(now),
        valid_until: Set(None),
    };
    match Entity::insert(row).exec_without_returning(db).await {
        Ok(_) => Ok(Ok(())),
        Err(e) if failure::violated_unique_constraint(&e) == Some("phone_numbers_one_holder") => {
            let holder = Entity::find()
                .filter(Column::Number.eq(number.as_str()))
                .filter(Column::ValidUntil.is_null())
                .one(db)
                .await?;
            Ok(match holder {
                Some(row) if row.tenant_id != tenant.0 => Err(NumberTaken(TenantId(row.tenant_id))),
                _ => Ok(()),
            })
        }
        Err(e) => Err(e.into()),
    }
}

/// Takes a number away from its holder, from now on. `false` where the tenant did not hold it.
pub async fn release(
    db: &impl OnRegistry,
    number: &PhoneNumber,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let released = Entity::update_many()
        .set(ActiveModel { valid_until: Set(Some(now)), ..Default::default() })
        .filter(Column::Number.eq(number.as_str()))
        .filter(Column::TenantId.eq(tenant.0))
        .filter(Column::ValidUntil.is_null())
        .exec(db)
        .await?;
    Ok(released.rows_affected == 1)
}

/// Who held each of `numbers` at `at`, in their order; numbers that were nobody's are left out. What came before
/// a number was ever given to anybody goes to its first holder; what fell into a gap between two holders is
/// nobody's.
pub async fn holders_at(
    db: &impl OnRegistry,
    numbers: &[String],
    at: DateTime<Utc>,
) -> Result<Vec<(String, TenantId)>, RegistryError> {
    let history = Entity::find()
        .filter(Column::Number.is_in(numbers))
        .order_by_asc(Column::ValidFrom)
        .all(db)
        .await?;
    let holder = |number: &String| {
        let mut of_number = history.iter().filter(|row| row.number == *number).peekable();
        let first = of_number.peek().copied().filter(|row| at < row.valid_from);
        let then = of_number
            .find(|row| row.valid_from <= at && row.valid_until.is_none_or(|until| at < until));
        then.or(first).map(|row| (number.clone(), TenantId(row.tenant_id)))
    };
    Ok(numbers.iter().filter_map(holder).collect())
}

/// The numbers that a tenant holds now.
pub async fn held_by(
    db: &impl OnRegistry,
    tenant: TenantId,
) -> Result<Vec<Assignment>, RegistryError> {
    Ok(Entity::find()
        .filter(Column::TenantId.eq(tenant.0))
        .filter(Column::ValidUntil.is_null())
        .order_by_asc(Column::Number)
        .all(db)
        .await?)
}
