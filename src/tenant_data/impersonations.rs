//! Operators who look into a tenant, for a while and with a reason.

use chrono::{DateTime, Utc};
use sea_orm::{DbBackend, DbErr, FromQueryResult, Statement, Value};
use uuid::Uuid;

use crate::paging::{Page, PageRequest, Position};
use crate::tenant_router::OnTenant;

/// One of them.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Impersonation {
    /// `sid` of its token.
    pub id: Uuid,
    /// Who.
    pub operator_id: Uuid,
    /// Their name then.
    pub operator_name: String,
    /// In their own words.
    pub reason: String,
    /// May they also change something?
    pub may_write: bool,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
    /// When it was ended before that.
    pub revoked_at: Option<DateTime<Utc>>,
}

async fn query(
    db: &impl OnTenant,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<Impersonation>, DbErr> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    Impersonation::find_by_statement(statement).all(db).await
}

/// Begins one.
pub async fn add(db: &impl OnTenant, new: &Impersonation) -> Result<(), DbErr> {
    const SQL: &str = "
        INSERT INTO impersonations (id, operator_id, operator_name, reason, may_write, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let values: [Value; 7] = [
        new.id.into(),
        new.operator_id.into(),
        new.operator_name.clone().into(),
        new.reason.clone().into(),
        new.may_write.into(),
        new.created_at.into(),
        new.expires_at.into(),
    ];
    db.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, SQL, values)).await?;
    Ok(())
}

/// All that there ever were, the newest first.
pub async fn list(db: &impl OnTenant, page: PageRequest) -> Result<Page<Impersonation>, DbErr> {
    const SQL: &str = "
        SELECT * FROM impersonations WHERE ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
        ORDER BY created_at DESC, id DESC LIMIT $3";
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX - 1) + 1;
    let (at, id) = page.after.map(|after| (after.at, after.id)).unzip();
    let rows = query(db, SQL, [at.into(), id.into(), limit.into()]).await?;
    Ok(Page::cut(rows, page.limit, |row| Position { at: row.created_at, id: row.id }))
}

/// Ends one; `None`: there is none with this id. One that has ended before counts: a first attempt may have stopped
/// half-way.
pub async fn revoke(
    db: &impl OnTenant,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Impersonation>, DbErr> {
    const SQL: &str =
        "UPDATE impersonations SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING *";
    Ok(query(db, SQL, [id.into(), now.into()]).await?.pop())
}
