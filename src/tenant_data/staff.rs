//! The people who administer a tenant.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QuerySelect,
    Statement,
};
use uuid::Uuid;

use super::entities::staff::{ActiveModel, Column, Entity};
pub use super::entities::staff::{Model as StaffMember, Status as StaffStatus};
use crate::audit::{Actor, ActorKind};
use crate::identifiers::EmailAddress;
use crate::tenant_router::{OnTenant, TenantTransaction};

impl StaffMember {
    /// The person as the actor of an audit event.
    pub fn actor(&self) -> Actor {
        let name = format!("{} {}", self.first_name, self.last_name).trim().to_owned();
        Actor { kind: ActorKind::Staff, id: Some(self.id), name }
    }
}

/// The values of a new member of staff.
#[derive(Clone)]
pub struct NewStaffMember {
    /// Id of the row, and `sub` of the tokens.
    pub id: Uuid,
    /// Email address, unique among the tenant's staff.
    pub email: EmailAddress,
    /// Password hash as a PHC string.
    pub password_hash: String,
    /// Given name; may be empty for a user of an identity provider.
    pub first_name: String,
    /// Family name; may be empty for a user of an identity provider.
    pub last_name: String,
    /// Name of a built-in role.
    pub role: &'static str,
}

/// Adds a member of staff. Adding the same one again changes nothing.
pub async fn add(
    db: &impl OnTenant,
    new: &NewStaffMember,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let row = ActiveModel {
        id: Set(new.id),
        email: Set(new.email.as_str().to_owned()),
        password_hash: Set(new.password_hash.clone()),
        first_name: Set(new.first_name.clone()),
        last_name: Set(new.last_name.clone()),
        role: Set(new.role.to_owned()),
        status: Set(StaffStatus::Active),
        mfa_enabled: Set(false),
        email_verified_at: Set(None),
        password_set_at: Set(None),
        last_login_at: Set(None),
        created_at: Set(now),
        updated_at: Set(now),
    };
    Entity::insert(row)
        .on_conflict(OnConflict::column(Column::Id).do_nothing().to_owned())
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// True if the tenant has no staff.
pub async fn is_empty(db: &impl OnTenant) -> Result<bool, DbErr> {
    Ok(Entity::find().one(db).await?.is_none())
}

/// True if no member of staff has proven an address, none came from an identity provider, and no
/// operator had an impersonation session.
pub async fn is_nobody_proven(db: &impl OnTenant) -> Result<bool, DbErr> {
    const SQL: &str = "SELECT NOT EXISTS (SELECT FROM staff WHERE email_verified_at IS NOT NULL)
        AND NOT EXISTS (SELECT FROM external_identities) AND NOT EXISTS (SELECT FROM impersonations)";
    let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, SQL)).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

/// A member of staff who may sign in, by id.
pub async fn find_active(db: &impl OnTenant, id: Uuid) -> Result<Option<StaffMember>, DbErr> {
    Entity::find_by_id(id).filter(Column::Status.eq(StaffStatus::Active)).one(db).await
}

/// True if the person may still sign in: with the password from when `user` was read, and without a
/// second factor if there was none then. The row is locked against changes until the transaction
/// ends.
pub async fn lock_active(
    transaction: &TenantTransaction,
    user: &StaffMember,
) -> Result<bool, DbErr> {
    let query =
        Entity::find_by_id(user.id).filter(Column::Status.eq(StaffStatus::Active)).lock_shared();
    let found = query.one(transaction).await?;
    let is_same = |row: &StaffMember| {
        row.password_set_at == user.password_set_at && (user.mfa_enabled || !row.mfa_enabled)
    };
    Ok(found.as_ref().is_some_and(is_same))
}

/// A member of staff who may sign in, by email.
pub async fn find_active_by_email(
    db: &impl OnTenant,
    email: &EmailAddress,
) -> Result<Option<StaffMember>, DbErr> {
    Entity::find()
        .filter(Column::Email.eq(email.as_str()))
        .filter(Column::Status.eq(StaffStatus::Active))
        .one(db)
        .await
}

/// Sets a new password, if the password is still that of `user`. `false`: another one was set
/// meanwhile.
pub async fn set_password(
    db: &impl OnTenant,
    user: &StaffMember,
    password_hash: String,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let change = ActiveModel {
        password_hash: Set(password_hash),
        password_set_at: Set(Some(now)),
        updated_at: Set(now),
        ..Default::default()
    };
    let unchanged = match user.password_set_at {
        Some(at) => Column::PasswordSetAt.eq(at),
        None => Column::PasswordSetAt.is_null(),
    };
    let set = Entity::update_many()
        .set(change)
        .filter(Column::Id.eq(user.id))
        .filter(unchanged)
        .exec(db)
        .await?;
    Ok(set.rows_affected > 0)
}

/// Replaces the hash by a hash of the same password with the current cost.
pub async fn rehash(db: &impl OnTenant, id: Uuid, (old, new): (&str, String)) -> Result<(), DbErr> {
    Entity::update_many()
        .set(ActiveModel { password_hash: Set(new), ..Default::default() })
        .filter(Column::Id.eq(id))
        .filter(Column::PasswordHash.eq(old))
        .exec(db)
        .await?;
    Ok(())
}

/// Records that emails to the person's address arrive. Only the first time is kept.
pub async fn record_verified(
    db: &impl OnTenant,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    Entity::update_many()
        .set(ActiveModel { email_verified_at: Set(Some(now)), ..Default::default() })
        .filter(Column::Id.eq(id))
        .filter(Column::EmailVerifiedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// Records the time of a login.
pub async fn record_login(db: &impl OnTenant, id: Uuid, now: DateTime<Utc>) -> Result<(), DbErr> {
    Entity::update_many()
        .set(ActiveModel { last_login_at: Set(Some(now)), ..Default::default() })
        .filter(Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}
