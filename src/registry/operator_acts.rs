//! What operators have done by command, and who they were. What they do to a run stands in its history instead.

use chrono::{DateTime, Utc};
use sea_orm::{DbBackend, FromQueryResult, Statement};

use super::{OnRegistry, RegistryError};
use crate::identifiers::TenantId;

/// One of them.
#[derive(Clone, Debug, FromQueryResult, serde::Serialize)]
pub struct Act {
    /// By the registry's clock.
    pub occurred_at: DateTime<Utc>,
    /// Who did it.
    pub actor: String,
    /// Past tense: `suspended`.
    pub act: String,
    /// What else there is to know.
    pub detail: Option<String>,
}

/// Writes down what is being done; in one transaction with it, where that is in the registry.
pub async fn note(
    db: &impl OnRegistry,
    actor: &str,
    act: &str,
    tenant: Option<TenantId>,
    detail: Option<&str>,
) -> Result<(), RegistryError> {
    const SQL: &str =
        "INSERT INTO operator_acts (actor, act, tenant_id, detail) VALUES ($1, $2, $3, $4)";
    let tenant = tenant.map(|tenant| tenant.0);
    let values = [actor.into(), act.into(), tenant.into(), detail.into()];
    db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, SQL, values)).await?;
    Ok(())
}

/// What was done to a tenant, oldest first.
pub async fn of_tenant(db: &impl OnRegistry, tenant: TenantId) -> Result<Vec<Act>, RegistryError> {
    const SQL: &str = "SELECT occurred_at, actor, act, detail FROM operator_acts WHERE tenant_id = $1 ORDER BY id";
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, [tenant.0.into()]);
    Ok(Act::find_by_statement(statement).all(db).await?)
}
