//! What the end or the new beginning of a tenant changes in Clerk's recorded reports.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, Statement};

use crate::identifiers::TenantId;
use crate::registry::{OnRegistry, RegistryError, RegistryTransaction};

/// Locks the users first and in order, as the recording of events does. A concurrent transaction
/// that adds a user to another organization is waited for, and the second statement sees its row.
const LOCK_USERS: &str = "
SELECT id FROM clerk_users WHERE id IN (SELECT user_id FROM clerk_memberships AS m
    JOIN clerk_organizations AS o ON o.id = m.organization_id WHERE o.tenant_id = $1) ORDER BY id FOR UPDATE
";
const FORGET: &str = "
WITH gone AS (
    UPDATE clerk_organizations SET name = NULL, slug = NULL, created_by = NULL, deleted = true, settled = changes
    WHERE tenant_id = $1 RETURNING id
), staff AS (
    DELETE FROM clerk_staff USING gone WHERE organization_id = gone.id
), members AS (
    DELETE FROM clerk_memberships USING gone WHERE organization_id = gone.id RETURNING user_id
)
DELETE FROM clerk_users WHERE NOT deleted AND id IN (SELECT user_id FROM members)
    AND NOT EXISTS (SELECT FROM clerk_memberships AS elsewhere
                    WHERE elsewhere.user_id = clerk_users.id AND elsewhere.organization_id NOT IN (SELECT id FROM gone))
";

/// Removes the data of a purged tenant's organization, and its users unless they are members of
/// other organizations. Its id stays, so that no other tenant is ever created for it.
pub async fn forget_tenant(
    transaction: &RegistryTransaction,
    tenant: TenantId,
) -> Result<(), RegistryError> {
    for sql in [LOCK_USERS, FORGET] {
        let backend = transaction.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, [tenant.0.into()]);
        transaction.execute_raw(statement).await?;
    }
    Ok(())
}

const SETTLE_AGAIN: &str = "UPDATE clerk_organizations SET changes = changes + 1, settle_attempts = 0, next_settle_at = $2 WHERE tenant_id = $1";

/// Makes the reconciliation of a tenant's staff with its organization due again: its database may
/// be another one, or members may have left while it was closed.
pub async fn settle_again(
    db: &impl OnRegistry,
    tenant: TenantId,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let values = [tenant.0.into(), now.into()];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), SETTLE_AGAIN, values);
    db.execute_raw(statement).await?;
    Ok(())
}
