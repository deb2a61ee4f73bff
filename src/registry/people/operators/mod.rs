//! The operators of this installation. They are few, and each of their requests reads their row, so
//! that a change takes effect at once.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveEnum, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait,
    QueryFilter, QuerySelect, Statement,
};
use uuid::Uuid;

use crate::audit::Warrant;
use crate::identifiers::EmailAddress;
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::postgres::failure;
use crate::registry::entities::operators::{ActiveModel, Column, Entity};
pub use crate::registry::entities::operators::{Model as Operator, Role, Status};
use crate::registry::{Lost, OnRegistry, RegistryError, RegistryTransaction};
use crate::sealing::{LookupHasher, Sealer, SealingError, aad};

mod rows;
pub mod second_factor;
pub mod sessions;

pub use rows::find;
use rows::update;

/// The target kind of an audit event on an operator.
pub const OPERATOR: &str = "operator";

impl Operator {
    /// True if they sign in with a second factor.
    pub fn has_second_factor(&self) -> bool {
        self.totp_confirmed_at.is_some()
    }

    /// Their unsealed email address.
    pub fn email(&self, sealer: &Sealer) -> Result<String, SealingError> {
        let email = sealer.open(&aad::operator_email(self.id), &self.sealed_email)?;
        String::from_utf8(email).map_err(|_| SealingError::Unreadable)
    }
}

/// The values of a new operator's row.
pub struct NewOperator {
    /// The row id, and `sub` of the tokens.
    pub id: Uuid,
    /// The email address, which no other operator may have.
    pub email: EmailAddress,
    /// The display name.
    pub name: String,
    /// A PHC string.
    pub password_hash: String,
    /// The role, which says what the operator may do.
    pub role: Role,
}

/// Another operator has the address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is an operator with this address already")]
pub struct EmailTaken;

/// Adds an active operator.
pub async fn create(
    db: &impl OnRegistry,
    (sealer, hasher): (&Sealer, &LookupHasher),
    new: NewOperator,
    now: DateTime<Utc>,
) -> Result<Result<Operator, EmailTaken>, RegistryError> {
    let sealed_email = sealer.seal(&aad::operator_email(new.id), new.email.as_str().as_bytes())?;
    let row = ActiveModel {
        id: Set(new.id),
        email_hash: Set(hasher.email(&new.email)),
        sealed_email: Set(sealed_email),
        name: Set(new.name),
        password_hash: Set(new.password_hash),
        password_set_at: Set(now),
        role: Set(new.role),
        status: Set(Status::Active),
        sealed_totp_secret: Set(None),
        totp_confirmed_at: Set(None),
        totp_last_step: Set(0),
        last_login_at: Set(None),
        created_at: Set(now),
        updated_at: Set(now),
    };
    match Entity::insert(row).exec_with_returning(db).await {
        Ok(operator) => Ok(Ok(operator)),
        Err(e) if failure::violated_unique_constraint(&e) == Some("operators_email_key") => {
            Ok(Err(EmailTaken))
        }
        Err(e) => Err(e.into()),
    }
}

/// The operator with this hash of an address.
pub async fn find_by_email(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
) -> Result<Option<Operator>, RegistryError> {
    Ok(Entity::find().filter(Column::EmailHash.eq(email_hash)).one(db).await?)
}

/// Locks the row of an operator until the transaction ends.
pub async fn lock(
    transaction: &RegistryTransaction,
    id: Uuid,
) -> Result<Option<Operator>, RegistryError> {
    Ok(Entity::find_by_id(id).lock_exclusive().one(transaction).await?)
}

/// The row of an operator who still has the right to their action. Otherwise fails with
/// [`RegistryError::Lost`].
pub async fn uphold(
    db: &impl OnRegistry,
    warrant: &Warrant,
    now: DateTime<Utc>,
) -> Result<Operator, RegistryError> {
    let Warrant { operator, session, role, second_factor } = warrant;
    let found = sessions::operator_in(db, *session, *operator, now).await?;
    let operator = found.ok_or(RegistryError::Lost(Lost::Session))?;
    if *second_factor && !operator.has_second_factor() {
        return Err(RegistryError::Lost(Lost::SecondFactor));
    }
    match role.as_ref().map(Role::try_from_value).transpose()? {
        Some(least) if operator.role < least => Err(RegistryError::Lost(Lost::Role)),
        _ => Ok(operator),
    }
}

/// Operators, the newest first.
pub async fn list(
    db: &impl OnRegistry,
    page: PageRequest,
) -> Result<Page<Operator>, RegistryError> {
    let position = |row: &Operator| Position { at: row.created_at, id: row.id };
    Ok(newest_first(db, Entity::find(), page, position).await?)
}

/// Changes to an operator. A field that is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorChange {
    /// The new display name.
    pub name: Option<String>,
    /// The new role.
    pub role: Option<Role>,
    /// Whether the operator may sign in.
    pub status: Option<Status>,
}

/// Why an operator was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChanged {
    /// There is no operator with this id.
    #[error("there is no such operator")]
    Unknown,
    /// The operator is the last active admin, so that no admin would remain.
    #[error("this is the last active admin, and stays one; make another operator an admin first")]
    LastAdmin,
}

/// Locks the present admins, so that none of them stops being one until the transaction ends. Of
/// two admins who demote each other, the second waits and is then the last one.
const HOLD_ADMINS: &str =
    "SELECT id FROM operators WHERE role = 'admin' AND status = 'active' ORDER BY id FOR UPDATE";

/// Changes an operator, if `warrant` still allows it. An operator who may no longer sign in is
/// signed out everywhere. Returns the new row, and whether it differs from the old one.
pub async fn change(
    transaction: &RegistryTransaction,
    id: Uuid,
    change: OperatorChange,
    warrant: Option<&Warrant>,
    now: DateTime<Utc>,
) -> Result<Result<(Operator, bool), NotChanged>, RegistryError> {
    let statement = Statement::from_string(DbBackend::Postgres, HOLD_ADMINS);
    let rows = transaction.query_all_raw(statement).await?;
    // Checked here and not at the end, because operators may change themselves.
    if let Some(warrant) = warrant {
        uphold(transaction, warrant, now).await?;
    }
    let admins =
        rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<Uuid>, _>>()?;
    let Some(before) = lock(transaction, id).await? else {
        return Ok(Err(NotChanged::Unknown));
    };
    let mut operator = before.clone();
    operator.name = change.name.unwrap_or(operator.name);
    operator.role = change.role.unwrap_or(operator.role);
    operator.status = change.status.unwrap_or(operator.status);
    let is_admin = operator.role == Role::Admin && operator.status == Status::Active;
    if admins == [id] && !is_admin {
        return Ok(Err(NotChanged::LastAdmin));
    }
    if operator == before {
        return Ok(Ok((operator, false)));
    }
    operator.updated_at = now;
    let row = ActiveModel {
        name: Set(operator.name.clone()),
        role: Set(operator.role),
        status: Set(operator.status),
        updated_at: Set(now),
        ..Default::default()
    };
    update(transaction, id, row).await?;
    if operator.status == Status::Disabled {
        sessions::end_all(transaction, id, None, now).await?;
    }
    Ok(Ok((operator, true)))
}

/// Sets a password and ends the operator's sessions, except one if it is given.
pub async fn set_password(
    transaction: &RegistryTransaction,
    id: Uuid,
    password_hash: String,
    but: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    let row = ActiveModel {
        password_hash: Set(password_hash),
        password_set_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    update(transaction, id, row).await?;
    sessions::end_all(transaction, id, but, now).await
}

/// Replaces a password hash by a hash of the same password at today's cost.
pub async fn rehash(
    db: &impl OnRegistry,
    operator: &Operator,
    password_hash: String,
) -> Result<(), RegistryError> {
    Entity::update_many()
        .set(ActiveModel { password_hash: Set(password_hash), ..Default::default() })
        .filter(Column::Id.eq(operator.id))
        .filter(Column::PasswordHash.eq(&operator.password_hash))
        .exec(db)
        .await?;
    Ok(())
}

/// Records the time of a successful sign-in.
pub async fn record_login(
    db: &impl OnRegistry,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    update(db, id, ActiveModel { last_login_at: Set(Some(now)), ..Default::default() }).await
}
