//! What operators do, by the API and by command. What they do to a run stands in its history as well.

use chrono::{DateTime, Utc};

use super::operators;
use crate::audit;
pub use crate::audit::{Actor, AuditEvent, Chain, Entry, Filter, Head, Origin, Tampering};
use crate::identifiers::TenantId;
use crate::paging::{Page, PageRequest};
use crate::registry::{OnRegistry, Registry, RegistryError, RegistryTransaction};
use crate::sealing::LookupHasher;

/// What an act on a tenant has as the kind of its target.
pub const TENANT: &str = "tenant";

/// By which name the chain of the registry's log is known; a tenant's, by its id.
pub const CHAIN: &str = "registry";

fn chain(hasher: &LookupHasher) -> Chain<'_> {
    Chain { name: CHAIN.to_owned(), hasher }
}

/// Writes down what is being done, in one transaction with it where that is in the registry. At its end: others wait. Refused
/// where an operator may not do it any more.
pub async fn record(
    transaction: &RegistryTransaction,
    hasher: &LookupHasher,
    origin: &Origin,
    event: AuditEvent,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    audit::append(transaction, &chain(hasher), origin, event, now).await?;
    // The lock of the log is held from the entry to the end of the transaction, and whoever shuts an operator out takes it too:
    // they have committed before, and it shows here, or come after.
    uphold(transaction, origin, now).await
}

/// Fails where the origin is an operator who may not do any more what they began.
pub async fn uphold(
    transaction: &RegistryTransaction,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    match &origin.warrant {
        Some(warrant) => operators::uphold(transaction, warrant, now).await.map(drop),
        None => Ok(()),
    }
}

/// Changes something in the registry: all of it in one transaction, with an entry at its end, or nothing. No act: nothing has changed,
/// and no entry says that it has.
pub async fn change<T, A, E, F>(
    registry: &Registry,
    origin: &Origin,
    now: DateTime<Utc>,
    change: F,
) -> Result<T, E>
where
    F: AsyncFnOnce(&RegistryTransaction) -> Result<(T, A), E>,
    A: Into<Option<AuditEvent>>,
    E: From<RegistryError>,
{
    let noted = async |transaction: &RegistryTransaction| {
        let (done, event) = change(transaction).await?;
        if let Some(event) = event.into() {
            record(transaction, registry.hasher(), origin, event, now).await?;
        }
        Ok(done)
    };
    registry.transaction(noted).await
}

/// Writes down something that changes nothing in the registry.
pub async fn record_alone(
    registry: &Registry,
    origin: &Origin,
    event: AuditEvent,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    change(registry, origin, now, async |_| Ok(((), event))).await
}

/// Entries, the newest first.
pub async fn list(
    db: &impl OnRegistry,
    filter: Filter,
    page: PageRequest,
) -> Result<Page<Entry>, RegistryError> {
    Ok(audit::list(db, filter, page).await?)
}

/// The last that was done to a tenant, the newest first.
pub async fn of_tenant(
    db: &impl OnRegistry,
    tenant: TenantId,
    limit: u64,
) -> Result<Vec<Entry>, RegistryError> {
    let filter = Filter {
        target_kind: Some(TENANT.to_owned()),
        target_id: Some(tenant.to_string()),
        ..Filter::default()
    };
    Ok(list(db, filter, PageRequest { limit, after: None }).await?.rows)
}

/// Follows the chain.
pub async fn verify(
    db: &impl OnRegistry,
    hasher: &LookupHasher,
    noted: &Head,
) -> Result<Result<Head, Tampering>, RegistryError> {
    Ok(audit::verify(db, &chain(hasher), noted).await?)
}
