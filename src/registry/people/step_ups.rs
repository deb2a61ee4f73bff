//! Step-ups of sessions. A session is identified by its id, for staff and for operators.

use chrono::{DateTime, Utc};
use sea_orm::{DbBackend, Statement, Value};
use uuid::Uuid;

use crate::registry::{OnRegistry, RegistryError};

async fn run(
    db: &impl OnRegistry,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<(), RegistryError> {
    db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, values)).await?;
    Ok(())
}

/// Records a step-up, and removes expired ones.
pub async fn record(
    db: &impl OnRegistry,
    (session, account): (Uuid, Uuid),
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<(), RegistryError> {
    const RECORD: &str = "
        INSERT INTO step_ups (session_id, account_id, expires_at) VALUES ($1, $2, $3)
        ON CONFLICT (session_id) DO UPDATE SET expires_at = excluded.expires_at";
    run(db, "DELETE FROM step_ups WHERE expires_at <= $1", [now.into()]).await?;
    run(db, RECORD, [session.into(), account.into(), expires_at.into()]).await
}

/// True if the session has a step-up that still counts.
pub async fn is_fresh(
    db: &impl OnRegistry,
    session: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, RegistryError> {
    const SQL: &str = "SELECT FROM step_ups WHERE session_id = $1 AND expires_at > $2";
    let values = [session.into(), now.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, values);
    Ok(db.query_one_raw(statement).await?.is_some())
}

/// Removes the step-up of a session.
pub async fn forget_in(db: &impl OnRegistry, session: Uuid) -> Result<(), RegistryError> {
    run(db, "DELETE FROM step_ups WHERE session_id = $1", [session.into()]).await
}

/// Removes all step-ups of an account, because its password or its second factor has changed.
pub async fn forget(db: &impl OnRegistry, account: Uuid) -> Result<(), RegistryError> {
    run(db, "DELETE FROM step_ups WHERE account_id = $1", [account.into()]).await
}
