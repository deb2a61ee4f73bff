//! The member of staff that a Clerk token belongs to.

use sea_orm::{DbBackend, Statement};
use uuid::Uuid;

use crate::identifiers::TenantId;
use crate::registry::{OnRegistry, RegistryError};

/// A member of a tenant's staff who signs in with Clerk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClerkCaller {
    /// The id of the tenant.
    pub tenant: TenantId,
    /// The id of the member of staff.
    pub staff: Uuid,
    /// The member's role.
    pub role: String,
}

/// True if Clerk manages the staff of the tenant.
pub async fn keeps(db: &impl OnRegistry, tenant: TenantId) -> Result<bool, RegistryError> {
    const SQL: &str = "SELECT 1 FROM clerk_organizations WHERE tenant_id = $1 AND NOT deleted";
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, [tenant.0.into()]);
    Ok(db.query_one_raw(statement).await?.is_some())
}

/// The reconciled staff, without members that a newer event contradicts. The end of a membership
/// counts as soon as it is recorded, even if the tenant's database could not be updated yet.
const SQL: &str = "
    SELECT o.tenant_id, s.staff_id, s.role
    FROM clerk_organizations o
    JOIN clerk_staff s ON s.organization_id = o.id AND s.active
    JOIN clerk_users u ON u.id = s.user_id AND NOT u.deleted
    WHERE o.id = $1 AND s.user_id = $2 AND NOT o.deleted AND o.tenant_id IS NOT NULL
      AND EXISTS (SELECT FROM clerk_memberships m
                  WHERE m.organization_id = o.id AND m.user_id = s.user_id AND NOT m.deleted)";

/// The member of staff that a user is in an organization. `None` if they are none now.
pub async fn find_caller(
    db: &impl OnRegistry,
    organization: &str,
    user: &str,
) -> Result<Option<ClerkCaller>, RegistryError> {
    let statement = Statement::from_sql_and_values(
        db.get_database_backend(),
        SQL,
        [organization.into(), user.into()],
    );
    let Some(row) = db.query_one_raw(statement).await? else { return Ok(None) };
    Ok(Some(ClerkCaller {
        tenant: TenantId(row.try_get("", "tenant_id")?),
        staff: row.try_get("", "staff_id")?,
        role: row.try_get("", "role")?,
    }))
}
