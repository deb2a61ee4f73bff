//! Which tenant holds or held a phone number, and when. A number can pass from one tenant to
//! another. An event belongs to the tenant that held the number when it occurred, however late it
//! arrives.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ColumnTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, Statement,
};

use crate::identifiers::{LineNumber, TenantId, new_id};
pub use crate::registry::entities::phone_numbers::Model as Assignment;
use crate::registry::entities::phone_numbers::{Column, Entity};
use crate::registry::{OnRegistry, RegistryError};

/// The allowed difference between our clock and that of a provider or another replica.
const CLOCK_SKEW: TimeDelta = TimeDelta::seconds(5);

/// Why a number was not assigned.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAssigned {
    /// Another tenant holds the number.
    #[error("belongs to the tenant {0} already")]
    Taken(TenantId),
    /// The tenant is not active.
    #[error("can be given to an active tenant only")]
    TenantNotActive,
}

/// The tenant's row is locked against a change of its status: a tenant that is being created, and
/// may be undone, gets no number. The times of two holders never overlap, even if this replica's
/// clock is behind the clock of the replica that released the number.
const ASSIGN: &str = "
INSERT INTO phone_numbers (id, number, tenant_id, valid_from)
SELECT $1, $2, id, greatest($3, (SELECT max(valid_until) FROM phone_numbers WHERE number = $2))
FROM tenants WHERE id = $4 AND status = 'active' FOR SHARE OF tenants
ON CONFLICT (number) WHERE valid_until IS NULL DO NOTHING
";

/// Assigns a number to an active tenant from now on. Assigning it to its holder again changes
/// nothing.
pub async fn assign(
    db: &impl OnRegistry,
    number: &LineNumber,
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
        Some(row) if row.tenant_id == tenant => Ok(()),
        Some(row) => Err(NotAssigned::Taken(row.tenant_id)),
        None => Err(NotAssigned::TenantNotActive),
    })
}

const RELEASE: &str = "
UPDATE phone_numbers SET valid_until = greatest($2, valid_from + interval '1 microsecond')
WHERE tenant_id = $1 AND number = $3 AND valid_until IS NULL
";

/// Releases a number from its holder from now on. `false` if the tenant did not hold it.
pub async fn release(
    db: &impl OnRegistry,
    number: &LineNumber,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    let values = [tenant.0.into(), now.into(), number.as_str().into()];
    let released = db
        .execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, RELEASE, values))
        .await?;
    Ok(released.rows_affected() == 1)
}

const RELEASE_ALL: &str = "
UPDATE phone_numbers SET valid_until = greatest($2, valid_from + interval '1 microsecond')
WHERE tenant_id = $1 AND valid_until IS NULL
";

/// Releases every number of a tenant from now on.
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

/// The time of an event: when it happened by its sender's clock, and when we received it by our
/// clock.
#[derive(Clone, Copy, Debug)]
pub struct EventTime {
    /// When the event happened, by its sender's clock.
    pub occurred_at: DateTime<Utc>,
    /// When we received the event, by our clock.
    pub received_at: DateTime<Utc>,
}

/// The holders of one number, the oldest first. Only this type decides which tenant an event of a
/// number belongs to, so that an announcement at an assignment agrees with what happens.
#[derive(Clone, Debug)]
pub struct History(Vec<Assignment>);

impl History {
    /// The tenant that an event belongs to. An event before the first assignment belongs to the
    /// first holder. An event in a gap between two times of the same tenant belongs to that tenant.
    /// An event in a gap between two tenants belongs to none, except within a clock difference of
    /// five seconds: if we received it when the next tenant held the number, it belongs to that
    /// tenant; if we received it just after the last tenant released the number, it belongs to the
    /// last tenant.
    pub fn holder(&self, event: EventTime) -> Option<TenantId> {
        // No event is received before it happens.
        let at = event.occurred_at.min(event.received_at);
        let began = self.0.partition_point(|row| row.valid_from <= at);
        let (before, after) = self.0.split_at(began);
        let (last, next) = (before.last(), after.first());
        let Some(last) = last else {
            return next.map(holder);
        };
        let Some(until) = last.valid_until.filter(|until| *until <= at) else {
            return Some(holder(last));
        };
        if let Some(next) = next {
            let has_begun = next.valid_from <= event.received_at;
            let is_back = next.tenant_id == last.tenant_id;
            if is_back || (has_begun && next.valid_from - at <= CLOCK_SKEW) {
                return Some(holder(next));
            }
        }
        (event.received_at - until <= CLOCK_SKEW).then(|| holder(last))
    }
}

fn holder(row: &Assignment) -> TenantId {
    row.tenant_id
}

/// A macro, so that the text of this frequent query is built once.
macro_rules! history {
    ($of:literal) => {
        concat!(
            "SELECT id, number, tenant_id, valid_from, valid_until FROM phone_numbers WHERE number ",
            $of,
            " ORDER BY valid_from"
        )
    };
}
/// For one number, as in most events. PostgreSQL caches the plan of this statement: 14 µs instead
/// of 31.
const HISTORY: &str = history!("= $1");
/// PostgreSQL plans this statement each time, because its cost depends on the length of the array.
const HISTORIES: &str = history!("= ANY($1)");

async fn assignments(
    db: &impl OnRegistry,
    numbers: &[String],
) -> Result<Vec<Assignment>, RegistryError> {
    let (sql, value) = match numbers {
        [number] => (HISTORY, number.clone().into()),
        numbers => (HISTORIES, numbers.to_vec().into()),
    };
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, [value]);
    Ok(Assignment::find_by_statement(statement).all(db).await?)
}

/// The holders of a number.
pub async fn history(db: &impl OnRegistry, number: &LineNumber) -> Result<History, RegistryError> {
    Ok(History(assignments(db, &[number.as_str().to_owned()]).await?))
}

/// The tenants that an event belongs to by each of `numbers`, in their order. Numbers by which it
/// belongs to no tenant are left out.
pub async fn holders_at(
    db: &impl OnRegistry,
    numbers: &[String],
    event: EventTime,
) -> Result<Vec<(String, TenantId)>, RegistryError> {
    let mut histories: HashMap<String, History> = HashMap::new();
    for row in assignments(db, numbers).await? {
        let history = histories.entry(row.number.clone()).or_insert(History(Vec::new()));
        history.0.push(row);
    }
    let found = |number: &String| {
        let tenant = histories.get(number)?.holder(event)?;
        Some((number.clone(), tenant))
    };
    Ok(numbers.iter().filter_map(found).collect())
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const A: TenantId = TenantId(uuid::Uuid::from_u128(1));
    const B: TenantId = TenantId(uuid::Uuid::from_u128(2));

    /// A time of the day, in seconds with a fraction.
    fn at(seconds: f64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis((seconds * 1e3) as i64).unwrap()
    }

    fn history(rows: &[(TenantId, f64, Option<f64>)]) -> History {
        let row = |(tenant, from, until): &(TenantId, f64, Option<f64>)| Assignment {
            id: new_id(),
            number: "+13125550101".to_owned(),
            tenant_id: *tenant,
            valid_from: at(*from),
            valid_until: until.map(at),
        };
        History(rows.iter().map(row).collect())
    }

    /// A holds the number from 100 to 200, B from 300 on.
    #[rstest]
    #[case::before_anybody(50.0, 50.1, Some(A))]
    #[case::in_its_time(150.0, 150.1, Some(A))]
    #[case::late(150.0, 900.0, Some(A))]
    #[case::at_the_release(200.0, 900.0, None)]
    #[case::just_after_the_release(200.7, 201.0, Some(A))]
    #[case::by_a_clock_ahead(200.7, 199.9, Some(A))]
    #[case::in_the_gap(250.0, 250.1, None)]
    #[case::from_the_gap_to_the_next(250.0, 300.1, None)]
    #[case::just_before_the_next(299.3, 299.4, None)]
    #[case::by_a_clock_behind(299.3, 300.1, Some(B))]
    #[case::by_a_clock_far_behind(294.9, 300.1, None)]
    #[case::just_before_and_late(299.3, 900.0, Some(B))]
    #[case::in_the_time_of_the_next(300.0, 300.0, Some(B))]
    #[case::from_the_future(9000.0, 250.0, None)]
    fn an_event_belongs_to_the_holder_of_its_time(
        #[case] occurred: f64,
        #[case] received: f64,
        #[case] expected: Option<TenantId>,
    ) {
        let history = history(&[(A, 100.0, Some(200.0)), (B, 300.0, None)]);
        let time = EventTime { occurred_at: at(occurred), received_at: at(received) };
        assert_eq!(history.holder(time), expected);
    }

    #[rstest]
    #[case::back_with_the_same(&[(A, 100.0, Some(200.0)), (A, 300.0, None)], Some(A))]
    #[case::with_another_between(&[(A, 100.0, Some(200.0)), (B, 300.0, Some(400.0)), (A, 500.0, None)], None)]
    #[case::never_given_again(&[(A, 100.0, Some(200.0))], None)]
    #[case::never_given(&[], None)]
    fn a_gap_is_of_the_tenant_on_both_sides(
        #[case] rows: &[(TenantId, f64, Option<f64>)],
        #[case] expected: Option<TenantId>,
    ) {
        let time = EventTime { occurred_at: at(250.0), received_at: at(250.1) };
        assert_eq!(history(rows).holder(time), expected);
    }
}
