//! Who is on the staff: inviting, changing, removing. Nobody makes anybody mightier than they are themselves, and an owner
//! is always left.

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
use super::staff::StaffMember;
use crate::identifiers::{EmailAddress, new_id};
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::postgres::failure;
use crate::tenant_router::{OnTenant, TenantTransaction};

/// They have been asked, and have no password yet.
pub const INVITED: &str = "invited";
const ACTIVE: &str = "active";
const DISABLED: &str = "disabled";

/// Why the staff was not changed.
#[derive(Debug, thiserror::Error)]
pub enum StaffError {
    /// There is nobody with this id.
    #[error("there is no such member of staff")]
    NotFound,
    /// Somebody on the staff has the address.
    #[error("somebody on the staff has this address")]
    EmailTaken,
    /// There is no role of this name.
    #[error("there is no such role")]
    UnknownRole,
    /// An owner must be left.
    #[error("this is the last owner")]
    LastOwner,
    /// They may do more than whoever wants to change them, or would.
    #[error("the role permits more than its giver may")]
    PrivilegeEscalation,
    /// An identity provider says who they are and what they may do.
    #[error("an identity provider keeps this account")]
    ManagedByIdentityProvider,
    /// It makes or unmakes an owner, or gives what gives rights.
    #[error("whoever changes this has to prove once more who they are")]
    StepUpRequired,
    /// Nothing is sent to others until an owner has proven their own address.
    #[error("no owner has proven their address")]
    NotVerified,
    /// They have joined already.
    #[error("they have joined already")]
    Joined,
    /// A statement failed.
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

/// Anybody on the staff, whether they may sign in or not.
pub async fn find(db: &impl OnTenant, id: Uuid) -> Result<StaffMember, StaffError> {
    Entity::find_by_id(id).one(db).await?.ok_or(StaffError::NotFound)
}

/// The addresses of everybody on the staff, each with their status.
pub async fn addresses(db: &impl OnTenant) -> Result<Vec<(String, String)>, DbErr> {
    let query = Entity::find().select_only().column(Column::Email).column(Column::Status);
    query.into_tuple().all(db).await
}

/// Somebody who is to be asked to join.
pub struct Invitation {
    /// Where the letter goes.
    pub email: EmailAddress,
    /// Given name.
    pub first_name: String,
    /// Family name.
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

/// Does a role make an owner, or somebody who can give rights?
fn is_mighty(role: &Role) -> bool {
    role.name == OWNER || rights::grants_rights(&role.permissions)
}

fn stepped_up(by: &Rights, is_needed: bool) -> Result<(), StaffError> {
    (by.has_stepped_up || !is_needed).then_some(()).ok_or(StaffError::StepUpRequired)
}

/// Refuses to send anything to others until an owner has proven that letters to their own address arrive.
pub async fn require_verified_owner(db: &impl OnTenant) -> Result<(), StaffError> {
    let verified = Entity::find()
        .filter(Column::Role.eq(OWNER))
        .filter(Column::Status.eq(ACTIVE))
        .filter(Column::EmailVerifiedAt.is_not_null())
        .one(db)
        .await?;
    verified.map(drop).ok_or(StaffError::NotVerified)
}

/// Refuses what would be refused anyway, before anything is written anywhere.
pub async fn may_invite(
    db: &impl OnTenant,
    new: &Invitation,
    by: &Rights,
) -> Result<(), StaffError> {
    require_verified_owner(db).await?;
    let role = role(db, &new.role).await?;
    covered(by, &role)?;
    stepped_up(by, is_mighty(&role))?;
    let known = Entity::find().filter(Column::Email.eq(new.email.as_str())).one(db).await?;
    if known.is_some() { Err(StaffError::EmailTaken) } else { Ok(()) }
}

/// Somebody who is invited, until the transaction ends. `None`: they are not any more.
pub async fn lock_invited_by(
    transaction: &TenantTransaction,
    id: Uuid,
    by: &Rights,
) -> Result<StaffMember, StaffError> {
    let user = hold_invited(transaction, id).await?.ok_or(StaffError::NotFound)?;
    let role = role(transaction, &user.role).await?;
    covered(by, &role)?;
    stepped_up(by, is_mighty(&role))?;
    Ok(user)
}

/// Somebody who is invited and has not joined yet.
pub async fn hold_invited(
    transaction: &TenantTransaction,
    id: Uuid,
) -> Result<Option<StaffMember>, DbErr> {
    let query = Entity::find_by_id(id).filter(Column::Status.eq(INVITED)).lock_shared();
    query.one(transaction).await
}

/// Adds somebody who cannot sign in yet.
pub async fn invite(
    transaction: &TenantTransaction,
    new: Invitation,
    by: &Rights,
    now: DateTime<Utc>,
) -> Result<StaffMember, StaffError> {
    require_verified_owner(transaction).await?;
    let role = role(transaction, &new.role).await?;
    covered(by, &role)?;
    stepped_up(by, is_mighty(&role))?;
    let row = ActiveModel {
        id: Set(new_id()),
        email: Set(new.email.as_str().to_owned()),
        password_hash: Set(NO_PASSWORD.to_owned()),
        first_name: Set(new.first_name),
        last_name: Set(new.last_name),
        role: Set(new.role),
        status: Set(INVITED.to_owned()),
        mfa_enabled: Set(false),
        email_verified_at: Set(None),
        password_set_at: Set(None),
        last_login_at: Set(None),
        created_at: Set(now),
        updated_at: Set(now),
    };
    Entity::insert(row).exec_with_returning(transaction).await.map_err(refused)
}

/// Somebody who was invited has set a password: they are on the staff. `None`: they are not invited any more.
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
        status: Set(ACTIVE.to_owned()),
        updated_at: Set(now),
        ..Default::default()
    };
    let joined = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id))
        .filter(Column::Status.eq(INVITED))
        .exec_with_returning(transaction)
        .await?;
    Ok(joined.into_iter().next())
}

/// What can be changed of somebody. Absent: as it is.
#[derive(Clone, Debug, Default)]
pub struct StaffChanges {
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Name of a role.
    pub role: Option<String>,
    /// May they call and sign in?
    pub active: Option<bool>,
}

/// Somebody who is to be changed by somebody else who may do so, and whether they are the last owner. Owners are locked first,
/// always in the same order: of two who unmake each other's owner at once, the second sees what the first has left.
pub async fn lock(
    transaction: &TenantTransaction,
    id: Uuid,
    by: &Rights,
) -> Result<(StaffMember, bool), StaffError> {
    let owners: Vec<Uuid> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Role.eq(OWNER))
        .filter(Column::Status.eq(ACTIVE))
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

/// Changes what is given. Returns them as they were, and as they are: the same where nothing is another.
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
        stepped_up(by, before.role == OWNER || is_mighty(&after))?;
        row.role = Set(name);
    }
    match changes.active {
        Some(false) if is_last_owner => return Err(StaffError::LastOwner),
        Some(false) if before.status != DISABLED => {
            stepped_up(by, before.role == OWNER)?;
            row.status = Set(DISABLED.to_owned());
        }
        Some(true) if before.status == DISABLED => {
            let role = role(transaction, &before.role).await?;
            stepped_up(by, is_mighty(&role))?;
            // Whoever has never had a password joins by the letter.
            let is_new = before.password_hash == NO_PASSWORD;
            row.status = Set(if is_new { INVITED } else { ACTIVE }.to_owned());
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

/// Somebody who may be removed. Nobody changes that until the transaction has ended.
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

/// Removes somebody, with all that was theirs alone; what they have written stays.
pub async fn remove(transaction: &TenantTransaction, id: Uuid) -> Result<(), DbErr> {
    Entity::delete_by_id(id).exec(transaction).await?;
    Ok(())
}

/// Gives somebody another address, which they have proven to be theirs.
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
