//! The operators of this installation. Few, and each of their requests reads their row: what is changed counts at once.

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
use crate::sealing::{LookupHasher, Sealer, SealingError};

mod rows;
pub mod second_factor;
pub mod sessions;

pub use rows::find;
use rows::update;

/// What an act on an operator has as the kind of its target.
pub const OPERATOR: &str = "operator";

impl Operator {
    /// Do they sign in with a second factor?
    pub fn has_second_factor(&self) -> bool {
        self.totp_confirmed_at.is_some()
    }

    /// Their address.
    pub fn email(&self, sealer: &Sealer) -> Result<String, SealingError> {
        let email = sealer.open(&email_bound_to(self.id), &self.sealed_email)?;
        String::from_utf8(email).map_err(|_| SealingError::Unreadable)
    }
}

fn email_bound_to(id: Uuid) -> String {
    format!("operators.email/{id}")
}

/// Everything that makes a new operator.
pub struct NewOperator {
    /// Row id, and `sub` of the tokens.
    pub id: Uuid,
    /// Nobody else's.
    pub email: EmailAddress,
    /// For people.
    pub name: String,
    /// PHC string.
    pub password_hash: String,
    /// What they may do.
    pub role: Role,
}

/// Another operator has the address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is an operator with this address already")]
pub struct EmailTaken;

/// Adds an operator.
pub async fn create(
    db: &impl OnRegistry,
    (sealer, hasher): (&Sealer, &LookupHasher),
    new: NewOperator,
    now: DateTime<Utc>,
) -> Result<Result<Operator, EmailTaken>, RegistryError> {
    let sealed_email = sealer.seal(&email_bound_to(new.id), new.email.as_str().as_bytes())?;
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

/// One operator, by the hash of their address.
pub async fn find_by_email(
    db: &impl OnRegistry,
    email_hash: Vec<u8>,
) -> Result<Option<Operator>, RegistryError> {
    Ok(Entity::find().filter(Column::EmailHash.eq(email_hash)).one(db).await?)
}

/// One operator, whom nobody else changes until the transaction ends.
pub async fn lock(
    transaction: &RegistryTransaction,
    id: Uuid,
) -> Result<Option<Operator>, RegistryError> {
    Ok(Entity::find_by_id(id).lock_exclusive().one(transaction).await?)
}

/// An operator as they are now, if they still may do what they began. Refused as [`RegistryError::Lost`].
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

/// What is to be changed of an operator; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorChange {
    /// For people.
    pub name: Option<String>,
    /// What they may do.
    pub role: Option<Role>,
    /// May they sign in?
    pub status: Option<Status>,
}

/// Why an operator was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChanged {
    /// There is none with this id.
    #[error("there is no such operator")]
    Unknown,
    /// Nobody could do anything any more.
    #[error("this is the last active admin, and stays one; make another operator an admin first")]
    LastAdmin,
}

/// Those who are admins now, and of whom none stops being one until the transaction ends: two admins who demote each other
/// come one after the other, and the second is the last.
const HOLD_ADMINS: &str =
    "SELECT id FROM operators WHERE role = 'admin' AND status = 'active' ORDER BY id FOR UPDATE";

/// Changes an operator, for whoever has this warrant. One who may not sign in any more is signed out everywhere. With the
/// operator as they are then, and whether anything is another.
pub async fn change(
    transaction: &RegistryTransaction,
    id: Uuid,
    change: OperatorChange,
    warrant: Option<&Warrant>,
    now: DateTime<Utc>,
) -> Result<Result<(Operator, bool), NotChanged>, RegistryError> {
    let statement = Statement::from_string(DbBackend::Postgres, HOLD_ADMINS);
    let rows = transaction.query_all_raw(statement).await?;
    // Asked here and not at the end: they may be changing themselves.
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

/// Sets a password. Their sessions end, but perhaps for one.
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

/// Puts a hash of today's cost in the place of this one, of the same password.
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

/// Notes a sign-in.
pub async fn record_login(
    db: &impl OnRegistry,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    update(db, id, ActiveModel { last_login_at: Set(Some(now)), ..Default::default() }).await
}
