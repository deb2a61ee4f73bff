//! Changes of the staff: invite, change, remove. No caller gives more permissions than they have,
//! and one owner is always left.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use uuid::Uuid;

use super::entities::external_identities;
use super::entities::staff::{ActiveModel, Column, Entity};
use super::external_identities::NO_PASSWORD;
use super::rights::{self, Rights};
use super::roles::{self, OWNER, Role};
use super::staff::{StaffMember, StaffStatus};
use crate::identifiers::{EmailAddress, new_id};
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::postgres::failure;
use crate::tenant_router::{OnTenant, TenantTransaction};

/// Why the staff was not changed.
#[derive(Debug, thiserror::Error)]
pub enum StaffError {
    /// No member of staff has this id.
    #[error("there is no such member of staff")]
    NotFound,
    /// Another member of staff has this address.
    #[error("somebody on the staff has this address")]
    EmailTaken,
    /// No role has this name.
    #[error("there is no such role")]
    UnknownRole,
    /// The person is the last owner.
    #[error("this is the last owner")]
    LastOwner,
    /// The person has, or would get, a permission that the caller lacks.
    #[error("the role permits more than its giver may")]
    PrivilegeEscalation,
    /// An identity provider manages the person's account and role.
    #[error("an identity provider keeps this account")]
    ManagedByIdentityProvider,
    /// The change makes or removes an owner, or gives a permission that allows to give rights.
    #[error("whoever changes this has to prove once more who they are")]
    StepUpRequired,
    /// No email goes to other people until an owner has proven their own address.
    #[error("no owner has proven their address")]
    NotVerified,
    /// The person has accepted the invitation before.
    #[error("they have joined already")]
    Joined,
    /// A statement or the connection to the tenant's database failed.
    #[error(transparent)]
    Database(#[from] DbErr),
}

fn refused(error: DbErr) -> StaffError {
    match failure::violated_unique_constraint(&error) {
        Some("staff_email_key") => StaffError::EmailTaken,
        _ => error.into(),
    }
}

/// The staff, newest first.
pub async fn list(db: &impl OnTenant, page: PageRequest) -> Result<Page<StaffMember>, DbErr> {
    let position = |row: &StaffMember| Position { at: row.created_at, id: row.id };
    newest_first(db, Entity::find(), page, position).await
}

/// A member of staff in any status.
pub async fn find(db: &impl OnTenant, id: Uuid) -> Result<StaffMember, StaffError> {
    Entity::find_by_id(id).one(db).await?.ok_or(StaffError::NotFound)
}

/// The addresses of all staff, each with its status.
pub async fn addresses(db: &impl OnTenant) -> Result<Vec<(String, StaffStatus)>, DbErr> {
    let query = Entity::find().select_only().column(Column::Email).column(Column::Status);
    query.into_tuple().all(db).await
}

/// A person to be invited.
pub struct Invitation {
    /// The address that the email goes to.
    pub email: EmailAddress,
    /// Given name, not empty.
    pub first_name: String,
    /// Family name, not empty.
    pub last_name: String,
    /// Name of a role.
    pub role: String,
}

async fn role(db: &impl OnTenant, name: &str) -> Result<Role, StaffError> {
    roles::find_by_name(db, name).await?.ok_or(StaffError::UnknownRole)
}

fn covered(by: &Rights, role: &Role) -> Result<(), StaffError> {
    by.includes(role).then_some(()).ok_or(StaffError::PrivilegeEscalation)
}

/// True for the owner role, and for a role that can give rights.
fn grants_rights(role: &Role) -> bool {
    role.name == OWNER || rights::grants_rights(&role.permissions)
}

fn stepped_up(by: &Rights, is_needed: bool) -> Result<(), StaffError> {
    (by.has_stepped_up || !is_needed).then_some(()).ok_or(StaffError::StepUpRequired)
}

/// Fails until an owner has proven that emails to their own address arrive.
pub async fn require_verified_owner(db: &impl OnTenant) -> Result<(), StaffError> {
    let verified = Entity::find()
        .filter(Column::Role.eq(OWNER))
        .filter(Column::Status.eq(StaffStatus::Active))
        .filter(Column::EmailVerifiedAt.is_not_null())
        .one(db)
        .await?;
    verified.map(drop).ok_or(StaffError::NotVerified)
}

/// Checks an invitation before anything is written. The errors are those of [`invite`].
pub async fn may_invite(
    db: &impl OnTenant,
    new: &Invitation,
    by: &Rights,
) -> Result<(), StaffError> {
    require_verified_owner(db).await?;
    let role = role(db, &new.role).await?;
    covered(by, &role)?;
    stepped_up(by, grants_rights(&role))?;
    let known = Entity::find().filter(Column::Email.eq(new.email.as_str())).one(db).await?;
    if known.is_some() { Err(StaffError::EmailTaken) } else { Ok(()) }
}

/// Locks an invited person until the transaction ends, and checks that `by` may invite them.
/// `NotFound`: the person is not invited any more.
pub async fn lock_invited_by(
    transaction: &TenantTransaction,
    id: Uuid,
    by: &Rights,
) -> Result<StaffMember, StaffError> {
    let user = hold_invited(transaction, id).await?.ok_or(StaffError::NotFound)?;
    let role = role(transaction, &user.role).await?;
    covered(by, &role)?;
    stepped_up(by, grants_rights(&role))?;
    Ok(user)
}

/// Locks a person who is invited and has not joined. `None`: the person is not invited any more.
pub async fn hold_invited(
    transaction: &TenantTransaction,
    id: Uuid,
) -> Result<Option<StaffMember>, DbErr> {
    let query =
        Entity::find_by_id(id).filter(Column::Status.eq(StaffStatus::Invited)).lock_shared();
    query.one(transaction).await
}

/// Adds an invited person, who cannot sign in yet.
pub async fn invite(
    transaction: &TenantTransaction,
    new: Invitation,
    by: &Rights,
    now: DateTime<Utc>,
) -> Result<StaffMember, StaffError> {
    require_verified_owner(transaction).await?;
    let role = role(transaction, &new.role).await?;
    covered(by, &role)?;
    stepped_up(by, grants_rights(&role))?;
    let row = ActiveModel {
        id: Set(new_id()),
        email: Set(new.email.as_str().to_owned()),
        password_hash: Set(NO_PASSWORD.to_owned()),
        first_name: Set(new.first_name),
        last_name: Set(new.last_name),
        role: Set(new.role),
        status: Set(StaffStatus::Invited),
        mfa_enabled: Set(false),
        email_verified_at: Set(None),
        password_set_at: Set(None),
        last_login_at: Set(None),
        created_at: Set(now),
        updated_at: Set(now),
    };
    Entity::insert(row).exec_with_returning(transaction).await.map_err(refused)
}

/// Makes an invited person, who has chosen a password, a member of staff. `None`: the person is not
/// invited any more.
pub async fn join(
    transaction: &TenantTransaction,
    id: Uuid,
    password_hash: String,
    now: DateTime<Utc>,
) -> Result<Option<StaffMember>, DbErr> {
    let row = ActiveModel {
        password_hash: Set(password_hash),
        password_set_at: Set(Some(now)),
        email_verified_at: Set(Some(now)),
        status: Set(StaffStatus::Active),
        updated_at: Set(now),
        ..Default::default()
    };
    let joined = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id))
        .filter(Column::Status.eq(StaffStatus::Invited))
        .exec_with_returning(transaction)
        .await?;
    Ok(joined.into_iter().next())
}

/// New values of a member of staff; `None` keeps the old value.
#[derive(Clone, Debug, Default)]
pub struct StaffChanges {
    /// Given name, not empty.
    pub first_name: Option<String>,
    /// Family name, not empty.
    pub last_name: Option<String>,
    /// Name of a role.
    pub role: Option<String>,
    /// True if the person may sign in and call.
    pub active: Option<bool>,
}

/// Locks `id`, checks that `by` may change the person, and returns the row and whether the person
/// is the last owner. Owners are locked first, in id order, so that two owners who demote each
/// other cannot both succeed.
pub async fn lock(
    transaction: &TenantTransaction,
    id: Uuid,
    by: &Rights,
) -> Result<(StaffMember, bool), StaffError> {
    let owners: Vec<Uuid> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Role.eq(OWNER))
        .filter(Column::Status.eq(StaffStatus::Active))
        .order_by_asc(Column::Id)
        .lock_exclusive()
        .into_tuple()
        .all(transaction)
        .await?;
    let user = Entity::find_by_id(id).lock_exclusive().one(transaction).await?;
    let user = user.ok_or(StaffError::NotFound)?;
    covered(by, &role(transaction, &user.role).await?)?;
    let is_last_owner = owners == [id];
    Ok((user, is_last_owner))
}

async fn is_kept_elsewhere(db: &impl OnTenant, id: Uuid) -> Result<bool, DbErr> {
    let theirs = external_identities::Column::StaffId.eq(id);
    Ok(external_identities::Entity::find().filter(theirs).one(db).await?.is_some())
}

/// Changes the given values. Returns the row before and after; both are equal if nothing changed.
pub async fn change(
    transaction: &TenantTransaction,
    id: Uuid,
    changes: StaffChanges,
    by: &Rights,
    now: DateTime<Utc>,
) -> Result<(StaffMember, StaffMember), StaffError> {
    let (before, is_last_owner) = lock(transaction, id, by).await?;
    let mut row: ActiveModel = Default::default();
    if (changes.role.is_some() || changes.active.is_some())
        && is_kept_elsewhere(transaction, id).await?
    {
        return Err(StaffError::ManagedByIdentityProvider);
    }
    if let Some(name) = changes.role.filter(|name| *name != before.role) {
        let after = role(transaction, &name).await?;
        covered(by, &after)?;
        if is_last_owner {
            return Err(StaffError::LastOwner);
        }
        stepped_up(by, before.role == OWNER || grants_rights(&after))?;
        row.role = Set(name);
    }
    match changes.active {
        Some(false) if is_last_owner => return Err(StaffError::LastOwner),
        Some(false) if before.status != StaffStatus::Disabled => {
            stepped_up(by, before.role == OWNER)?;
            row.status = Set(StaffStatus::Disabled);
        }
        Some(true) if before.status == StaffStatus::Disabled => {
            let role = role(transaction, &before.role).await?;
            stepped_up(by, grants_rights(&role))?;
            // A person who never had a password joins by the invitation email.
            let is_new = before.password_hash == NO_PASSWORD;
            row.status = Set(if is_new { StaffStatus::Invited } else { StaffStatus::Active });
        }
        _ => {}
    }
    if let Some(first_name) = changes.first_name.filter(|name| *name != before.first_name) {
        row.first_name = Set(first_name);
    }
    if let Some(last_name) = changes.last_name.filter(|name| *name != before.last_name) {
        row.last_name = Set(last_name);
    }
    if !row.is_changed() {
        return Ok((before.clone(), before));
    }
    row.updated_at = Set(now);
    let changed = Entity::update_many().set(row).filter(Column::Id.eq(id));
    let changed = changed.exec_with_returning(transaction).await?;
    let after = changed.into_iter().next().ok_or(StaffError::NotFound)?;
    Ok((before, after))
}

/// Locks a person until the transaction ends, and checks that `by` may remove them.
pub async fn lock_removable(
    transaction: &TenantTransaction,
    id: Uuid,
    by: &Rights,
) -> Result<StaffMember, StaffError> {
    let (user, is_last_owner) = lock(transaction, id, by).await?;
    if is_last_owner {
        return Err(StaffError::LastOwner);
    }
    if is_kept_elsewhere(transaction, id).await? {
        return Err(StaffError::ManagedByIdentityProvider);
    }
    stepped_up(by, user.role == OWNER)?;
    Ok(user)
}

/// Removes a person with their own data, such as sessions. Messages that the person wrote stay.
pub async fn remove(transaction: &TenantTransaction, id: Uuid) -> Result<(), DbErr> {
    Entity::delete_by_id(id).exec(transaction).await?;
    Ok(())
}

/// Sets a new address that the person has proven to own.
pub async fn set_email(
    transaction: &TenantTransaction,
    id: Uuid,
    email: &str,
    now: DateTime<Utc>,
) -> Result<(), StaffError> {
    let row = ActiveModel {
        email: Set(email.to_owned()),
        email_verified_at: Set(Some(now)),
        updated_at: Set(now),
        ..Default::default()
    };
    let update = Entity::update_many().set(row).filter(Column::Id.eq(id));
    update.exec(transaction).await.map_err(refused)?;
    Ok(())
}
