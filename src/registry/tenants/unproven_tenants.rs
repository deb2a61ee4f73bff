//! Self-registered tenants for which it is unknown whether a member has proven an address. All
//! times are the registry's own: a replica with a wrong clock must not end a tenant.

use std::time::Duration;

use sea_orm::{DbBackend, Statement, Value};

use crate::identifiers::TenantId;
use crate::registry::{OnRegistry, RegistryError};

fn seconds(duration: Duration) -> Value {
    duration.as_secs_f64().into()
}

async fn execute<const N: usize>(
    db: &impl OnRegistry,
    sql: &str,
    values: [Value; N],
) -> Result<u64, RegistryError> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    Ok(db.execute_raw(statement).await?.rows_affected())
}

async fn tenants<const N: usize>(
    db: &impl OnRegistry,
    sql: &str,
    values: [Value; N],
) -> Result<Vec<TenantId>, RegistryError> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let rows = db.query_all_raw(statement).await?;
    rows.iter().map(|row| Ok(TenantId(row.try_get_by_index(0)?))).collect()
}

/// Records a tenant that is being registered.
pub async fn add(db: &impl OnRegistry, tenant: TenantId) -> Result<(), RegistryError> {
    const SQL: &str = "INSERT INTO unproven_tenants (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING";
    execute(db, SQL, [tenant.0.into()]).await.map(drop)
}

/// Removes a tenant from the list, so that it does not end by itself.
pub async fn remove(db: &impl OnRegistry, tenant: TenantId) -> Result<(), RegistryError> {
    execute(db, "DELETE FROM unproven_tenants WHERE tenant_id = $1", [tenant.0.into()])
        .await
        .map(drop)
}

/// Tenants that are served and were registered longer than `lifetime` ago. The tenants whose last
/// check is oldest come first.
pub async fn due(
    db: &impl OnRegistry,
    lifetime: Duration,
    limit: i64,
) -> Result<Vec<TenantId>, RegistryError> {
    const SQL: &str = "SELECT tenant_id FROM unproven_tenants JOIN tenants ON id = tenant_id
        WHERE status = 'active' AND registered_at <= clock_timestamp() - make_interval(secs => $1)
        ORDER BY coalesce(asked_at, registered_at) LIMIT $2";
    tenants(db, SQL, [seconds(lifetime), limit.into()]).await
}

/// Moves a tenant back in the queue, because its database could not be asked.
pub async fn put_back(db: &impl OnRegistry, tenant: TenantId) -> Result<(), RegistryError> {
    const SQL: &str =
        "UPDATE unproven_tenants SET asked_at = clock_timestamp() WHERE tenant_id = $1";
    execute(db, SQL, [tenant.0.into()]).await.map(drop)
}

/// True if the tenant is still due. It stays due until the transaction has ended. A tenant that an
/// operator has suspended, or that Clerk manages, is not due.
pub async fn lock_due(
    transaction: &impl OnRegistry,
    tenant: TenantId,
    lifetime: Duration,
) -> Result<bool, RegistryError> {
    const SQL: &str = "SELECT tenant_id FROM unproven_tenants JOIN tenants ON id = tenant_id
        WHERE tenant_id = $1 AND registered_at <= clock_timestamp() - make_interval(secs => $2)
          AND status = 'active'
          AND NOT EXISTS (SELECT FROM clerk_organizations WHERE clerk_organizations.tenant_id = $1)
        FOR UPDATE OF unproven_tenants";
    Ok(!tenants(transaction, SQL, [tenant.0.into(), seconds(lifetime)]).await?.is_empty())
}

/// Tenants that were registered longer than `lifetime` ago, were deleted longer than `grace` ago
/// (by this job or by their own staff), and are not being purged.
pub async fn deleted(
    db: &impl OnRegistry,
    lifetime: Duration,
    grace: Duration,
    limit: i64,
) -> Result<Vec<TenantId>, RegistryError> {
    const SQL: &str = "SELECT tenant_id FROM unproven_tenants JOIN tenants ON id = tenant_id
        WHERE status = 'deleted' AND registered_at <= clock_timestamp() - make_interval(secs => $1)
          AND deleted_at <= clock_timestamp() - make_interval(secs => $2)
        ORDER BY deleted_at LIMIT $3";
    tenants(db, SQL, [seconds(lifetime), seconds(grace), limit.into()]).await
}

/// The tenant that was registered with an address longer than `age` ago, if the address is not
/// known to be proven.
pub async fn holder_of(
    db: &impl OnRegistry,
    email_hash: &[u8],
    age: Duration,
) -> Result<Option<TenantId>, RegistryError> {
    const SQL: &str = "SELECT unproven_tenants.tenant_id FROM unproven_tenants
        JOIN email_index ON email_index.tenant_id = unproven_tenants.tenant_id
        WHERE email_hash = $1 AND self_registered_owner
          AND registered_at <= clock_timestamp() - make_interval(secs => $2)";
    Ok(tenants(db, SQL, [email_hash.to_vec().into(), seconds(age)]).await?.pop())
}
