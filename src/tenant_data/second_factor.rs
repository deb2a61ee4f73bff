//! Second factors of staff: the secret that the authenticator app shares with us, sealed, and
//! recovery codes for a person who has lost the app. No code works twice.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbBackend, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    Statement, Value,
};
use uuid::Uuid;

use super::entities::staff;
use crate::tenant_router::{OnTenant, TenantTransaction};

/// The authenticator secret of a member of staff.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Factor {
    /// The secret, sealed by `Registry::tenant_sealer`.
    pub sealed_secret: Vec<u8>,
    /// True after a first code was confirmed. Before that, a login needs no code.
    pub is_confirmed: bool,
    /// Time step of the last used code.
    pub last_step: i64,
}

async fn run(
    db: &impl OnTenant,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, DbErr> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    Ok(db.execute_raw(statement).await?.rows_affected())
}

/// The factor of a member of staff, confirmed or not.
pub async fn find(db: &impl OnTenant, staff: Uuid) -> Result<Option<Factor>, DbErr> {
    const SQL: &str = "
        SELECT sealed_secret, confirmed_at IS NOT NULL AS is_confirmed, last_step FROM staff_totp WHERE staff_id = $1";
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, [staff.into()]);
    Factor::find_by_statement(statement).one(db).await
}

/// Stores a new secret that is to be confirmed. `false`: the person has a confirmed one already.
pub async fn begin(
    db: &impl OnTenant,
    staff: Uuid,
    sealed_secret: Vec<u8>,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    const SQL: &str = "
        INSERT INTO staff_totp (staff_id, sealed_secret, created_at) VALUES ($1, $2, $3)
        ON CONFLICT (staff_id) DO UPDATE
        SET sealed_secret = excluded.sealed_secret, created_at = excluded.created_at, last_step = 0
        WHERE staff_totp.confirmed_at IS NULL";
    Ok(run(db, SQL, [staff.into(), sealed_secret.into(), now.into()]).await? == 1)
}

/// Confirms the secret: from now on a login needs a code. The recovery codes are stored with it.
/// `false`: another request has replaced or confirmed the secret.
pub async fn confirm(
    transaction: &TenantTransaction,
    staff: Uuid,
    (secret, step): (Vec<u8>, i64),
    code_hashes: Vec<Vec<u8>>,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    const CONFIRM: &str = "
        UPDATE staff_totp SET confirmed_at = $3, last_step = $4
        WHERE staff_id = $1 AND sealed_secret = $2 AND confirmed_at IS NULL";
    const CODES: &str = "
        INSERT INTO recovery_codes (staff_id, code_hash) SELECT $1, unnest($2::bytea[])";
    let values = [staff.into(), secret.into(), now.into(), step.into()];
    if run(transaction, CONFIRM, values).await? != 1 {
        return Ok(false);
    }
    set_enabled(transaction, staff, true, now).await?;
    run(transaction, CODES, [staff.into(), code_hashes.into()]).await?;
    Ok(true)
}

/// Removes the second factor and the recovery codes. `false`: the person had none.
pub async fn remove(
    transaction: &TenantTransaction,
    staff: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    set_enabled(transaction, staff, false, now).await?;
    run(transaction, "DELETE FROM recovery_codes WHERE staff_id = $1", [staff.into()]).await?;
    let removed = run(transaction, "DELETE FROM staff_totp WHERE staff_id = $1", [staff.into()]);
    Ok(removed.await? == 1)
}

async fn set_enabled(
    db: &impl OnTenant,
    staff: Uuid,
    enabled: bool,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let row = staff::ActiveModel {
        mfa_enabled: Set(enabled),
        updated_at: Set(now),
        ..Default::default()
    };
    staff::Entity::update_many().set(row).filter(staff::Column::Id.eq(staff)).exec(db).await?;
    Ok(())
}

/// Uses up the code of a time step. `false`: the code of this step or of a later one was used
/// before.
pub async fn use_step(db: &impl OnTenant, staff: Uuid, step: i64) -> Result<bool, DbErr> {
    const SQL: &str = "UPDATE staff_totp SET last_step = $2 WHERE staff_id = $1 AND last_step < $2";
    Ok(run(db, SQL, [staff.into(), step.into()]).await? == 1)
}

/// Uses up a recovery code. `false`: the person has no such code.
pub async fn use_recovery_code(
    db: &impl OnTenant,
    staff: Uuid,
    code_hash: Vec<u8>,
) -> Result<bool, DbErr> {
    const SQL: &str = "DELETE FROM recovery_codes WHERE staff_id = $1 AND code_hash = $2";
    Ok(run(db, SQL, [staff.into(), code_hash.into()]).await? == 1)
}
