//! The settings that a tenant makes for itself.

use chrono::{DateTime, Utc};
use sea_orm::{DbBackend, DbErr, FromQueryResult, Statement};
use serde_json::Value;

use crate::tenant_router::OnTenant;

/// Key of the setting that requires a second factor of all staff.
pub const MFA_REQUIRED: &str = "mfa_required";

#[derive(FromQueryResult)]
struct Row {
    key: String,
    value: Value,
}

/// All settings, by key. Settings that were never set are absent.
pub async fn all(db: &impl OnTenant) -> Result<serde_json::Map<String, Value>, DbErr> {
    const SQL: &str = "SELECT key, value FROM settings ORDER BY key";
    let statement = Statement::from_string(DbBackend::Postgres, SQL);
    let rows = Row::find_by_statement(statement).all(db).await?;
    Ok(rows.into_iter().map(|row| (row.key, row.value)).collect())
}

/// Sets one setting, and replaces its old value.
pub async fn set(
    db: &impl OnTenant,
    key: &str,
    value: Value,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    const SQL: &str = "
        INSERT INTO settings (key, value, updated_at) VALUES ($1, $2, $3)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
    let values = [key.into(), value.into(), now.into()];
    db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, SQL, values)).await?;
    Ok(())
}
