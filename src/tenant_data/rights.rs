//! What a caller may do now: a member of staff by the current role, a service client by its key, an
//! operator by the impersonation session.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Statement, Value};
use uuid::Uuid;

use super::seed::catalogue::PERMISSIONS;
use super::settings::MFA_REQUIRED;
use crate::audit::{Actor, ActorKind};
use crate::tenant_router::{OnTenant, TenantTransaction};

/// Permissions that an operator never has in a tenant: to give rights to others, to close or rename
/// the organization, and to export all data (no route requires `export:run` yet).
const NEVER_FOR_OPERATORS: &[&str] = &["staff:manage", "tenant:manage", "export:run"];

/// A caller with one of these can give rights to others.
const GIVE_RIGHTS: &[&str] = &["staff:manage", "tenant:manage"];

/// True if one of these permissions allows to give rights to others. To give such a permission, a
/// caller needs a step-up.
pub fn grants_rights(permissions: &[String]) -> bool {
    permissions.iter().any(|name| GIVE_RIGHTS.contains(&&**name))
}

/// What one caller may do.
#[derive(Clone, Debug)]
pub struct Rights {
    /// Names of the permissions that the caller has.
    pub permissions: Vec<String>,
    /// The caller as the audit log names it.
    pub actor: Actor,
    /// True if the tenant requires a second factor of all staff, and the caller has none yet.
    pub must_enroll: bool,
    /// True for an owner. Only owners change who is an owner.
    pub is_owner: bool,
    /// True after a recent step-up. Read only in a transaction that may change rights.
    pub has_stepped_up: bool,
}

/// Every change that a caller makes holds this lock until the transaction ends: shared, or
/// exclusive if it changes rights or ends sessions. So the rights that are read under the lock stay
/// valid until the commit. It is taken before any row lock, so that no two transactions deadlock.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('narthex.rights', 0))";
const LOCK_SHARED: &str =
    "SELECT pg_advisory_xact_lock_shared(hashtextextended('narthex.rights', 0))";

/// Locks everybody's rights and sessions until the transaction ends. `alone`: exclusively, because
/// the transaction itself changes them.
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

/// Rights of a member of staff, by the current role. `None`: the person may not call. A person who
/// signs in at an identity provider has the second factor there, so `must_enroll` is false.
pub async fn of_staff(db: &impl OnTenant, id: Uuid) -> Result<Option<Rights>, DbErr> {
    const SQL: &str = "
        SELECT s.id, trim(s.first_name || ' ' || s.last_name) AS name, r.permissions,
            NOT s.mfa_enabled AND s.password_hash <> '!'
                AND EXISTS (SELECT FROM settings WHERE key = $2 AND value = 'true') AS must_enroll,
            s.role = 'owner' AS is_owner
        FROM staff s JOIN roles r ON r.name = s.role WHERE s.id = $1 AND s.status = 'active'";
    read(db, ActorKind::Staff, SQL, [id.into(), MFA_REQUIRED.into()]).await
}

/// Rights of the service client whose key has this hash. `None`: no valid key has it.
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

/// Rights of an operator in an impersonation session. `is_admin`: the operator still has the role
/// that may change data. `None`: the session is over.
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
