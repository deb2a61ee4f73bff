//! What staff, their programs and operators have done in a tenant.

use chrono::{DateTime, Utc};
use sea_orm::{DbErr, TransactionTrait};

use crate::audit::{self, Chain};
pub use crate::audit::{AuditEvent, Entry, Filter, Head, Origin, Tampering};
use crate::identifiers::TenantId;
use crate::paging::{Page, PageRequest};
use crate::sealing::LookupHasher;
use crate::tenant_router::{OnTenant, TenantDb, TenantTransaction};

fn chain<'a>(db: &impl OnTenant, hasher: &'a LookupHasher) -> Chain<'a> {
    Chain { name: TenantId(db.scope().tenant().id).to_string(), hasher }
}

/// Writes down what is being done, in one transaction with it. At its end: others wait.
pub async fn record(
    transaction: &TenantTransaction,
    hasher: &LookupHasher,
    origin: &Origin,
    event: AuditEvent,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    audit::append(transaction, &chain(transaction, hasher), origin, event, now).await
}

/// Changes something: all of it in one transaction, with an entry at its end, or nothing. No act: nothing has changed, and no entry
/// says that it has.
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

/// Entries, the newest first.
pub async fn list(
    db: &impl OnTenant,
    filter: Filter,
    page: PageRequest,
) -> Result<Page<Entry>, DbErr> {
    audit::list(db, filter, page).await
}

/// Follows the chain.
pub async fn verify(
    db: &impl OnTenant,
    hasher: &LookupHasher,
    noted: &Head,
) -> Result<Result<Head, Tampering>, DbErr> {
    audit::verify(db, &chain(db, hasher), noted).await
}
