//! Which tenant holds a phone number, and held it when. A number can pass from one tenant to another; an event
//! belongs to whoever held the number when it occurred, however late it comes.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter,
    QueryOrder, Statement,
};

pub use super::entities::phone_numbers::Model as Assignment;
use super::entities::phone_numbers::{ActiveModel, Column, Entity};
use super::{OnRegistry, RegistryError};
use crate::identifiers::{PhoneNumber, TenantId, new_id};

/// Why a number was not given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAssigned {
    /// Another tenant holds it.
    #[error("belongs to the tenant {0} already")]
    Taken(TenantId),
    /// The tenant is not active.
    #[error("can be given to an active tenant only")]
    TenantNotActive,
}

/// The tenant's row is locked against a change of its status: a tenant that is still being made, and may have to be
/// unmade, gets no number.
const ASSIGN: &str = "
INSERT INTO phone_numbers (id, number, tenant_id, valid_from)
SELECT $1, $2, id, $3 FROM tenants WHERE id = $4 AND status = 'active' FOR SHARE
ON CONFLICT (number) WHERE valid_until IS NULL DO NOTHING
";

/// Gives a number to an active tenant, from now on. Giving it to its holder again changes nothing.
pub async fn assign(
    db: &impl OnRegistry,
    number: &PhoneNumber,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<Result<(), NotAssigned>, RegistryError> {
    let values: [sea_orm::Value; 4] =
        [new_id().into(), number.as_str().into(), now.into(), tenant.0.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, ASSIGN, values);
    if db.execute_raw(statement).await?.rows_affected() == 1 {
        return Ok(Ok(()));
    }
    let holder = Entity::find()
        .filter(Column::Number.eq(number.as_str()))
        .filter(Column::ValidUntil.is_null())
        .one(db)
        .await?;
    Ok(match holder {
        Some(row) if row.tenant_id == tenant.0 => Ok(()),
        Some(row) => Err(NotAssigned::Taken(TenantId(row.tenant_id))),
        None => Err(NotAssigned::TenantNotActive),
    })
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

const RELEASE_ALL: &str = "
UPDATE phone_numbers SET valid_until = greatest($2, valid_from + interval '1 microsecond')
WHERE tenant_id = $1 AND valid_until IS NULL
";

/// Takes every number away from a tenant, from now on.
pub async fn release_all(
    db: &impl OnRegistry,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let values = [tenant.0.into(), now.into()];
    db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, RELEASE_ALL, values))
        .await?;
    Ok(())
}

/// Asked for every event, so that its text is made once.
macro_rules! history {
    ($of:literal) => {
        concat!(
            "SELECT id, number, tenant_id, valid_from, valid_until FROM phone_numbers WHERE number ",
            $of,
            " ORDER BY valid_from"
        )
    };
}
/// Of one number, as in most events. PostgreSQL keeps the plan of this one: 14 µs instead of 31.
const HISTORY: &str = history!("= $1");
/// PostgreSQL plans this one anew each time, because its cost depends on the length of the array.
const HISTORIES: &str = history!("= ANY($1)");

/// Who held each of `numbers` at `at`, in their order; numbers that were nobody's are left out. What came before
/// a number was ever given to anybody goes to its first holder; what fell into a gap between two holders is
/// nobody's.
pub async fn holders_at(
    db: &impl OnRegistry,
    numbers: &[String],
    at: DateTime<Utc>,
) -> Result<Vec<(String, TenantId)>, RegistryError> {
    let (sql, value) = match numbers {
        [number] => (HISTORY, number.clone().into()),
        numbers => (HISTORIES, numbers.to_vec().into()),
    };
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, [value]);
    let history = Assignment::find_by_statement(statement).all(db).await?;
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
