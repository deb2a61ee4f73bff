//! Where each audit log was seen to end when it was last verified: entries that are cut off at its end show against that.

use sea_orm::{DbBackend, FromQueryResult, Statement};

use crate::audit::Head;
use crate::registry::{OnRegistry, RegistryError};

/// The head of a chain as it was last noted; that of an empty log where it never was.
pub async fn noted(db: &impl OnRegistry, chain: &str) -> Result<Head, RegistryError> {
    const SQL: &str = "SELECT sequence, hash FROM audit_heads WHERE chain = $1";
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, [chain.into()]);
    Ok(Head::find_by_statement(statement).one(db).await?.unwrap_or_default())
}

/// Notes the head of a chain that was found whole. One that was noted later meanwhile stays.
pub async fn record(db: &impl OnRegistry, chain: &str, head: &Head) -> Result<(), RegistryError> {
    const SQL: &str = "
        INSERT INTO audit_heads (chain, sequence, hash) VALUES ($1, $2, $3)
        ON CONFLICT (chain) DO UPDATE
        SET sequence = EXCLUDED.sequence, hash = EXCLUDED.hash, noted_at = clock_timestamp()
        WHERE audit_heads.sequence <= EXCLUDED.sequence";
    let values = [chain.into(), head.sequence.into(), head.hash.clone().into()];
    db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, SQL, values)).await?;
    Ok(())
}
