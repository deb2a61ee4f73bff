//! What a caller may do now: a member of staff by the role of today, a program by its key, an operator by what the tenant
//! lets happen.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Statement, Value};
use uuid::Uuid;

use super::seed::catalogue::PERMISSIONS;
use super::settings::MFA_REQUIRED;
use crate::audit::{Actor, ActorKind};
use crate::tenant_router::{OnTenant, TenantTransaction};

/// What an operator cannot do in a tenant's name, whatever they were let in for: to give others rights, to close or rename
/// the organization, and to carry everything off.
const NEVER_FOR_OPERATORS: &[&str] = &["staff:manage", "tenant:manage", "export:run"];

/// Whoever has one of these can give rights to others.
const GIVE_RIGHTS: &[&str] = &["staff:manage", "tenant:manage"];

/// Is anything among these that lets others be given rights? To give it asks for a proof of who somebody is.
pub fn grants_rights(permissions: &[String]) -> bool {
    permissions.iter().any(|name| GIVE_RIGHTS.contains(&&**name))
}

/// Of one caller.
#[derive(Clone, Debug)]
pub struct Rights {
    /// Names of permissions.
    pub permissions: Vec<String>,
    /// Who they are.
    pub actor: Actor,
    /// The tenant wants a second factor of everybody, and they have none yet.
    pub must_enroll: bool,
    /// Are they an owner? Only owners make and unmake owners.
    pub is_owner: bool,
    /// Have they just proven once more who they are? Asked only in a transaction that may change rights.
    pub has_stepped_up: bool,
}

/// Held until the transaction ends by everything that changes something for a caller: shared, or alone by what changes rights or
/// ends sessions. The rights that are read under it stay what they are until the change has committed. It is taken before any
/// row is locked, so that no two transactions wait for each other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('narthex.rights', 0))";
const LOCK_SHARED: &str =
    "SELECT pg_advisory_xact_lock_shared(hashtextextended('narthex.rights', 0))";

/// Keeps everybody's rights and sessions as they are until the transaction ends. `alone`: the transaction itself changes them.
pub async fn lock(transaction: &TenantTransaction, alone: bool) -> Result<(), DbErr> {
    transaction.execute_unprepared(if alone { LOCK } else { LOCK_SHARED }).await?;
    Ok(())
}

#[derive(FromQueryResult)]
struct Row {
    is_owner: bool,
    id: Uuid,
    name: String,
    permissions: Vec<String>,
    must_enroll: bool,
}

async fn read(
    db: &impl OnTenant,
    kind: ActorKind,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<Rights>, DbErr> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let row = Row::find_by_statement(statement).one(db).await?;
    Ok(row.map(|Row { is_owner, id, name, permissions, must_enroll }| Rights {
        permissions,
        actor: Actor { kind, id: Some(id), name },
        must_enroll,
        is_owner,
        has_stepped_up: false,
    }))
}

/// Of a member of staff, by the role that they have now; `None`: they may not call at all. Whose sign-in another service
/// keeps has their second factor there.
pub async fn of_staff(db: &impl OnTenant, id: Uuid) -> Result<Option<Rights>, DbErr> {
    const SQL: &str = "
        SELECT s.id, trim(s.first_name || ' ' || s.last_name) AS name, r.permissions,
            NOT s.mfa_enabled AND s.password_hash <> '!'
                AND EXISTS (SELECT FROM settings WHERE key = $2 AND value = 'true') AS must_enroll,
            s.role = 'owner' AS is_owner
        FROM staff s JOIN roles r ON r.name = s.role WHERE s.id = $1 AND s.status = 'active'";
    read(db, ActorKind::Staff, SQL, [id.into(), MFA_REQUIRED.into()]).await
}

/// Of the program that has a key with this hash.
pub async fn of_key(
    db: &impl OnTenant,
    hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Rights>, DbErr> {
    const SQL: &str = "
        SELECT id, name, permissions, false AS must_enroll, false AS is_owner FROM api_keys
        WHERE key_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
    read(db, ActorKind::ApiKey, SQL, [hash.to_vec().into(), now.into()]).await
}

#[derive(FromQueryResult)]
struct LetIn {
    operator_name: String,
    may_write: bool,
}

/// Of an operator, by the impersonation. `is_admin`: are they still one who may change anything?
pub async fn of_operator(
    db: &impl OnTenant,
    impersonation: Uuid,
    is_admin: bool,
    now: DateTime<Utc>,
) -> Result<Option<Rights>, DbErr> {
    const SQL: &str = "
        SELECT operator_name, may_write FROM impersonations
        WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2";
    let values = [impersonation.into(), now.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, values);
    let found = LetIn::find_by_statement(statement).one(db).await?;
    Ok(found.map(|LetIn { operator_name, may_write }| {
        let may = |name: &&str| {
            name.ends_with(":read")
                || (may_write && is_admin && !NEVER_FOR_OPERATORS.contains(name))
        };
        let permissions = PERMISSIONS.iter().map(|(name, _)| *name).filter(may);
        Rights {
            permissions: permissions.map(str::to_owned).collect(),
            actor: Actor {
                kind: ActorKind::Operator,
                id: Some(impersonation),
                name: operator_name,
            },
            must_enroll: false,
            is_owner: false,
            has_stepped_up: false,
        }
    }))
}
