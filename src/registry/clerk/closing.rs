//! What the end of a tenant, and a new beginning, mean for what Clerk has said.

use chrono::{DateTime, Utc};
use sea_orm::Statement;

use crate::identifiers::TenantId;
use crate::registry::{OnRegistry, RegistryError};

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

/// Forgets the organization of a tenant that is purged, and its people, unless they are members of others. Its id stays,
/// so that no other tenant is ever made of it.
pub async fn forget_tenant(db: &impl OnRegistry, tenant: TenantId) -> Result<(), RegistryError> {
    let statement =
        Statement::from_sql_and_values(db.get_database_backend(), FORGET, [tenant.0.into()]);
    db.execute_raw(statement).await?;
    Ok(())
}

const SETTLE_AGAIN: &str = "UPDATE clerk_organizations SET changes = changes + 1, next_settle_at = $2 WHERE tenant_id = $1";

/// Has the staff of a tenant held against its organization again: its database may be another one.
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
