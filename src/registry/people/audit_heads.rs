//! The end of each audit log when it was last verified. It reveals entries that were cut off at the
//! end of a log.

use sea_orm::{DbBackend, FromQueryResult, Statement};

use crate::audit::Head;
use crate::registry::{OnRegistry, RegistryError};

/// The recorded head of a chain. The head of an empty log if none was recorded.
pub async fn noted(db: &impl OnRegistry, chain: &str) -> Result<Head, RegistryError> {
    const SQL: &str = "SELECT sequence, hash FROM audit_heads WHERE chain = $1";
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, [chain.into()]);
    Ok(Head::find_by_statement(statement).one(db).await?.unwrap_or_default())
}

/// Records the head of a chain that was verified. A head that was recorded later stays.
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
