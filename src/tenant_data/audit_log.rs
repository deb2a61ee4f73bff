//! The audit log of a tenant: actions of staff, service clients and operators.

use chrono::{DateTime, Utc};
use sea_orm::{DbErr, TransactionTrait};

use crate::audit::{self, Chain};
pub use crate::audit::{AuditEvent, Entry, Filter, Head, Origin, Tampering};
use crate::paging::{Page, PageRequest};
use crate::sealing::LookupHasher;
use crate::tenant_router::{OnTenant, TenantDb, TenantTransaction};

fn chain<'a>(db: &impl OnTenant, hasher: &'a LookupHasher) -> Chain<'a> {
    Chain { name: db.scope().tenant().id.to_string(), hasher }
}

/// Records an event, in the transaction of its change. Call it at the end, because the log is
/// locked until the commit.
pub async fn record(
    transaction: &TenantTransaction,
    hasher: &LookupHasher,
    origin: &Origin,
    event: AuditEvent,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    audit::append(transaction, &chain(transaction, hasher), origin, event, now).await
}

/// Makes a change and appends its audit event in one transaction, or does neither. No event means
/// that the change had no effect.
pub async fn change<T, A, E, F>(
    db: &TenantDb,
    hasher: &LookupHasher,
    now: DateTime<Utc>,
    change: F,
) -> Result<T, E>
where
    F: AsyncFnOnce(&TenantTransaction) -> Result<(T, Origin, A), E>,
    A: Into<Option<AuditEvent>>,
    E: From<DbErr>,
{
    let noted = async |transaction: &TenantTransaction| {
        let (done, origin, event) = change(transaction).await?;
        if let Some(event) = event.into() {
            record(transaction, hasher, &origin, event, now).await?;
        }
        Ok(done)
    };
    db.begin().await?.run(noted).await
}

/// One page of the entries that meet the filter, newest first.
pub async fn list(
    db: &impl OnTenant,
    filter: Filter,
    page: PageRequest,
) -> Result<Page<Entry>, DbErr> {
    audit::list(db, filter, page).await
}

/// Verifies the hash chain of the log, from the start to its head. `noted` is the last recorded
/// head.
pub async fn verify(
    db: &impl OnTenant,
    hasher: &LookupHasher,
    noted: &Head,
) -> Result<Result<Head, Tampering>, DbErr> {
    audit::verify(db, &chain(db, hasher), noted).await
}
