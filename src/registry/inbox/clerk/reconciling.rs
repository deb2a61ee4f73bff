//! The facts that have to be reconciled with tenants, and the results of that.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, LockBehavior, LockType, OnConflict};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel,
    QueryFilter, QueryOrder, QuerySelect, QueryTrait, Statement,
};

use super::facts::Profiled;
use super::recording::profile_of;
use super::{ClerkStaff, Organization};
use crate::identifiers::{RunId, TenantId};
use crate::registry::entities::clerk_organizations::{ActiveModel, Column, Entity};
use crate::registry::entities::{clerk_memberships, clerk_staff, clerk_users};
use crate::registry::{OnRegistry, RegistryError, RegistryTransaction};
use crate::sealing::Sealer;

/// A present member of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Clerk's id of the user.
    pub user_id: String,
    /// The role as Clerk has it.
    pub role: String,
    /// `None` if Clerk has not reported the user's data yet.
    pub profile: Option<Profiled>,
}

/// The organization with this id.
pub async fn find(db: &impl OnRegistry, id: &str) -> Result<Option<Organization>, RegistryError> {
    Ok(Entity::find_by_id(id).one(db).await?)
}

/// Locks the reconciliation of this organization until the transaction ends. `false` if another
/// transaction has the lock. No row is locked, so that events can be recorded meanwhile.
pub async fn lock(transaction: &RegistryTransaction, id: &str) -> Result<bool, RegistryError> {
    let statement = Statement::from_sql_and_values(
        transaction.get_database_backend(),
        "SELECT pg_try_advisory_xact_lock(hashtextextended('clerk:' || $1, 0)) AS locked",
        [id.into()],
    );
    let row = transaction.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get("", "locked")).transpose()?.unwrap_or(false))
}

/// Claims up to `limit` organizations with changes to reconcile, and postpones the next attempt at
/// each by `lease`.
pub async fn claim_unsettled(
    db: &impl OnRegistry,
    limit: u64,
    lease: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<Organization>, RegistryError> {
    let due = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::CreatedSeen.eq(true))
        .filter(Expr::col(Column::Changes).gt(Expr::col(Column::Settled)))
        .filter(Column::NextSettleAt.lte(now))
        .order_by_asc(Column::NextSettleAt)
        .limit(limit)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    let until = now + TimeDelta::from_std(lease).unwrap_or(TimeDelta::zero());
    Ok(Entity::update_many()
        .set(ActiveModel { next_settle_at: Set(until), ..Default::default() })
        .col_expr(Column::SettleAttempts, Expr::col(Column::SettleAttempts).add(1))
        .filter(Column::Id.in_subquery(due.into_query()))
        .exec_with_returning(db)
        .await?)
}

/// Postpones the next attempt to reconcile.
pub async fn postpone(
    db: &impl OnRegistry,
    id: &str,
    until: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel { next_settle_at: Set(until), ..Default::default() };
    Entity::update_many().set(row).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}

/// Records the tenant that is being created for an organization. `false` if it has one already;
/// then the transaction must not be committed.
pub async fn link_tenant(
    transaction: &RegistryTransaction,
    id: &str,
    tenant: TenantId,
    run: RunId,
) -> Result<bool, RegistryError> {
    let row =
        ActiveModel { tenant_id: Set(Some(tenant)), run_id: Set(Some(run)), ..Default::default() };
    let linked = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id))
        .filter(Column::TenantId.is_null())
        .exec(transaction)
        .await?;
    Ok(linked.rows_affected == 1)
}

/// Removes a failed run from the organization, so that the next attempt plans a new one.
pub async fn forget_failed_run(
    db: &impl OnRegistry,
    id: &str,
    run: RunId,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        tenant_id: Set(None),
        run_id: Set(None),
        next_settle_at: Set(now),
        ..Default::default()
    };
    Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id))
        .filter(Column::RunId.eq(run))
        .exec(db)
        .await?;
    Ok(())
}

/// Records that an organization's members are reconciled up to `changes`.
pub async fn settled(
    transaction: &RegistryTransaction,
    id: &str,
    changes: i64,
) -> Result<(), RegistryError> {
    let row = ActiveModel { settled: Set(changes), settle_attempts: Set(0), ..Default::default() };
    Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id))
        .filter(Column::Settled.lt(changes))
        .exec(transaction)
        .await?;
    Ok(())
}

/// The present members by user id. Of a user with several memberships the newest counts.
pub async fn members_of(
    db: &impl OnRegistry,
    sealer: &Sealer,
    organization: &str,
) -> Result<Vec<Member>, RegistryError> {
    use clerk_memberships::Column as Membership;
    let memberships = clerk_memberships::Entity::find()
        .filter(Membership::OrganizationId.eq(organization))
        .filter(Membership::UserId.is_not_null())
        .filter(Membership::Deleted.eq(false))
        .order_by_asc(Membership::UpdatedMs)
        .order_by_asc(Membership::Id)
        .all(db)
        .await?;
    let mut members = BTreeMap::new();
    for membership in memberships {
        if let Some(user_id) = membership.user_id {
            let role = membership.role;
            members.insert(user_id.clone(), Member { user_id, role, profile: None });
        }
    }
    let users = clerk_users::Entity::find()
        .filter(clerk_users::Column::Id.is_in(members.keys()))
        .all(db)
        .await?;
    for user in users {
        if user.deleted {
            members.remove(&user.id);
        } else if let Some(member) = members.get_mut(&user.id) {
            member.profile = profile_of(sealer, &user)?;
        }
    }
    Ok(members.into_values().collect())
}

/// The staff of an organization, as it was last reconciled.
pub async fn staff_of(
    db: &impl OnRegistry,
    organization: &str,
) -> Result<Vec<ClerkStaff>, RegistryError> {
    let of_it = clerk_staff::Column::OrganizationId.eq(organization);
    Ok(clerk_staff::Entity::find().filter(of_it).all(db).await?)
}

/// Records the result for one member.
pub async fn save_staff(
    transaction: &RegistryTransaction,
    staff: ClerkStaff,
) -> Result<(), RegistryError> {
    use clerk_staff::Column as Staff;
    let replace = OnConflict::columns([Staff::OrganizationId, Staff::UserId])
        .update_columns([Staff::StaffId, Staff::Role, Staff::EmailHash, Staff::Active])
        .to_owned();
    clerk_staff::Entity::insert(staff.into_active_model().reset_all())
        .on_conflict(replace)
        .exec_without_returning(transaction)
        .await?;
    Ok(())
}
