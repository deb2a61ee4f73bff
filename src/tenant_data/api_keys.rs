//! Keys of a tenant's own programs. Only the SHA-256 of one is kept.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DbBackend, DbErr, FromQueryResult, Statement, Value};
use uuid::Uuid;

use crate::paging::{Page, PageRequest, Position};
use crate::tenant_router::OnTenant;

/// The last use is written down no more often than this.
const NOTED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// A key, without its secret.
#[derive(Clone, Debug, FromQueryResult)]
pub struct ApiKey {
    /// Row id.
    pub id: Uuid,
    /// What the tenant calls it.
    pub name: String,
    /// How the key ends.
    pub hint: String,
    /// What its holder may do.
    pub permissions: Vec<String>,
    /// Who has made it; they may have left.
    pub created_by: Option<Uuid>,
    /// When.
    pub created_at: DateTime<Utc>,
    /// From then on it is good no more.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since then it is good no more.
    pub revoked_at: Option<DateTime<Utc>>,
    /// To the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// From where.
    pub last_used_ip: Option<String>,
}

/// A key that is to be.
pub struct NewApiKey {
    /// Row id.
    pub id: Uuid,
    /// What the tenant calls it.
    pub name: String,
    /// Of the whole text.
    pub hash: Vec<u8>,
    /// How the text ends.
    pub hint: String,
    /// What its holder may do.
    pub permissions: Vec<String>,
    /// Who makes it, where a member of staff does.
    pub created_by: Option<Uuid>,
    /// From then on it is good no more.
    pub expires_at: Option<DateTime<Utc>>,
}

async fn query(
    db: &impl OnTenant,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<ApiKey>, DbErr> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    ApiKey::find_by_statement(statement).all(db).await
}

/// Adds one.
pub async fn add(
    db: &impl OnTenant,
    new: NewApiKey,
    now: DateTime<Utc>,
) -> Result<Option<ApiKey>, DbErr> {
    const SQL: &str = "
        INSERT INTO api_keys (id, name, key_hash, hint, permissions, created_by, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *";
    let values: [Value; 8] = [
        new.id.into(),
        new.name.into(),
        new.hash.into(),
        new.hint.into(),
        new.permissions.into(),
        new.created_by.into(),
        now.into(),
        new.expires_at.into(),
    ];
    Ok(query(db, SQL, values).await?.pop())
}

/// All of them, those that are good no more too, the newest first.
pub async fn list(db: &impl OnTenant, page: PageRequest) -> Result<Page<ApiKey>, DbErr> {
    const SQL: &str = "
        SELECT * FROM api_keys WHERE ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
        ORDER BY created_at DESC, id DESC LIMIT $3";
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX - 1) + 1;
    let (at, id) = page.after.map(|after| (after.at, after.id)).unzip();
    let rows = query(db, SQL, [at.into(), id.into(), limit.into()]).await?;
    Ok(Page::cut(rows, page.limit, |row| Position { at: row.created_at, id: row.id }))
}

/// It is good no more; `None`: there is none with this id. One that was revoked before counts: a first attempt may have
/// stopped half-way.
pub async fn revoke(
    db: &impl OnTenant,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<ApiKey>, DbErr> {
    const SQL: &str =
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING *";
    Ok(query(db, SQL, [id.into(), now.into()]).await?.pop())
}

/// Notes that one is in use.
pub async fn note_use(
    db: &impl OnTenant,
    id: Uuid,
    ip: Option<String>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    const SQL: &str = "
        UPDATE api_keys SET last_used_at = $2, last_used_ip = $3
        WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $4)";
    let values = [id.into(), now.into(), ip.into(), (now - NOTED_EVERY).into()];
    db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, SQL, values)).await?;
    Ok(())
}
