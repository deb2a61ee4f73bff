//! Resealing under a new master key, a few values at a time. An interrupted run continues where it
//! stopped. If two runs overlap, each value is resealed once.

use sea_orm::{DbBackend, FromQueryResult, Statement};

use crate::registry::{OnRegistry, RegistryError};
use crate::sealing::Sealer;

/// Values that are read at once. A sealed body can have a mebibyte.
const BATCH: i64 = 20;

/// A column of sealed values.
pub struct SealedColumn {
    /// The name of the table.
    pub table: &'static str,
    /// The name of the column.
    pub column: &'static str,
    /// The AAD of its values, without the row's id.
    aad: &'static str,
    /// The SQL for the row's id as text, as the AAD of its values ends with it.
    id: &'static str,
}

const fn sealed(
    table: &'static str,
    column: &'static str,
    aad: &'static str,
    id: &'static str,
) -> SealedColumn {
    SealedColumn { table, column, aad, id }
}

/// All sealed columns. A test compares the list with the schema.
pub const SEALED: &[SealedColumn] = &[
    sealed("system_config", "sealed_value", "system_config.value", "key"),
    sealed("signing_keys", "sealed_seed", "signing_keys.seed", "kid"),
    sealed(
        "database_servers",
        "sealed_administration_password",
        "database_servers.password",
        "id::text",
    ),
    sealed("operators", "sealed_email", "operators.email", "id::text"),
    sealed("operators", "sealed_totp_secret", "operators.totp_secret", "id::text"),
    sealed("tenants", "sealed_password", "tenants.password", "id::text"),
    sealed("provisioning_runs", "sealed_input", "provisioning_runs.input", "id::text"),
    sealed("clerk_users", "sealed_profile", "clerk_users.profile", "id"),
    sealed("parked_events", "sealed_body", "parked_events.body", "id::text"),
    sealed(
        "webhook_deliveries",
        "sealed_body",
        "webhook_deliveries.body",
        "provider || '/' || delivery_id",
    ),
];

/// The result of resealing a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// The number of values that were sealed again.
    pub done: u64,
    /// The number of values that none of the configured keys opens. They stay as they are.
    pub unreadable: u64,
}

#[derive(FromQueryResult)]
struct Value {
    id: String,
    value: Vec<u8>,
}

/// Seals again every value of a column that an older key has sealed.
pub async fn reseal(
    db: &impl OnRegistry,
    sealer: &Sealer,
    of: &SealedColumn,
) -> Result<Resealed, RegistryError> {
    let SealedColumn { table, column, aad, id } = of;
    let update = format!("UPDATE {table} SET {column} = $1 WHERE {id} = $2 AND {column} = $3");
    let (mark, mut after) = (sealer.mark()?, String::new());
    let mut resealed = Resealed::default();
    loop {
        let rows = sealed_otherwise(db, of, &mark, &after).await?;
        let Some(last) = rows.last() else { return Ok(resealed) };
        after.clone_from(&last.id);
        for Value { id, value } in rows {
            let aad = format!("{aad}/{id}");
            let Ok(plain) = sealer.open(&aad, &value) else {
                tracing::warn!(table, column, id, "a sealed value does not open");
                resealed.unreadable += 1;
                continue;
            };
            let anew = sealer.seal(&aad, &plain)?;
            // A value that was changed meanwhile is already sealed under the writer's key.
            let values = [anew.into(), id.into(), value.into()];
            let update = Statement::from_sql_and_values(DbBackend::Postgres, &update, values);
            resealed.done += db.execute_raw(update).await?.rows_affected();
        }
    }
}

/// A few values after the row `after` that do not begin with `mark`; with an empty `mark`, any
/// values. Values of purged tenants are empty and are left out.
async fn sealed_otherwise(
    db: &impl OnRegistry,
    SealedColumn { table, column, id, .. }: &SealedColumn,
    mark: &[u8],
    after: &str,
) -> Result<Vec<Value>, RegistryError> {
    let select = format!(
        "SELECT {id} AS id, {column} AS value FROM {table}
         WHERE octet_length({column}) > 0 AND ($1 = 0 OR substring({column} FROM 1 FOR $1) <> $2) AND {id} > $3
         ORDER BY {id} LIMIT $4"
    );
    let length = i32::try_from(mark.len()).unwrap_or(i32::MAX);
    let values = [length.into(), mark.to_vec().into(), after.into(), BATCH.into()];
    let select = Statement::from_sql_and_values(DbBackend::Postgres, &select, values);
    Ok(Value::find_by_statement(select).all(db).await?)
}

/// The number of values in a column that none of the keys opens. Changes nothing.
pub async fn count_unreadable(
    db: &impl OnRegistry,
    sealer: &Sealer,
    of: &SealedColumn,
) -> Result<u64, RegistryError> {
    let (mut unreadable, mut after) = (0, String::new());
    loop {
        // Values with any prefix.
        let rows = sealed_otherwise(db, of, &[], &after).await?;
        let Some(last) = rows.last() else { return Ok(unreadable) };
        after.clone_from(&last.id);
        let is_shut = |row: &&Value| {
            let aad = format!("{}/{}", of.aad, row.id);
            sealer.open(&aad, &row.value).is_err()
        };
        unreadable += u64::try_from(rows.iter().filter(is_shut).count()).unwrap_or(u64::MAX);
    }
}
