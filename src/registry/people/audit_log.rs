//! The audit log of operators, for the API and for commands. Events of a run are in its history as
//! well.

use chrono::{DateTime, Utc};

use super::operators;
use crate::audit;
pub use crate::audit::{Actor, AuditEvent, Chain, Entry, Filter, Head, Origin, Tampering};
use crate::identifiers::TenantId;
use crate::paging::{Page, PageRequest};
use crate::registry::{OnRegistry, Registry, RegistryError, RegistryTransaction};
use crate::sealing::LookupHasher;

/// The target kind of an audit event on a tenant.
pub const TENANT: &str = "tenant";

/// The name of the registry's audit chain. A tenant's chain has the tenant's id.
pub const CHAIN: &str = "registry";

fn chain(hasher: &LookupHasher) -> Chain<'_> {
    Chain { name: CHAIN.to_owned(), hasher }
}

/// Records an audit event, in the same transaction as the change if the change is in the registry.
/// Call it at the end of the transaction, because others wait for the log's lock. Fails if the
/// operator has lost the right to the action.
pub async fn record(
    transaction: &RegistryTransaction,
    hasher: &LookupHasher,
    origin: &Origin,
    event: AuditEvent,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    audit::append(transaction, &chain(hasher), origin, event, now).await?;
    // The lock of the log is held from the entry to the end of the transaction, and a change that
    // disables an operator takes it too. So such a change has committed before and is visible here,
    // or it comes after.
    uphold(transaction, origin, now).await
}

/// Fails if the origin is an operator who has lost the right to the action.
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

/// Changes the registry in one transaction with an audit event at its end. If the change returns no
/// event, nothing has changed and no event is recorded.
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

/// Records an audit event for an action that changes nothing in the registry.
pub async fn record_alone(
    registry: &Registry,
    origin: &Origin,
    event: AuditEvent,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    change(registry, origin, now, async |_| Ok(((), event))).await
}

/// One page of audit events, the newest first.
pub async fn list(
    db: &impl OnRegistry,
    filter: Filter,
    page: PageRequest,
) -> Result<Page<Entry>, RegistryError> {
    Ok(audit::list(db, filter, page).await?)
}

/// The last audit events on a tenant, the newest first.
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

/// Verifies the chain of the log.
pub async fn verify(
    db: &impl OnRegistry,
    hasher: &LookupHasher,
    noted: &Head,
) -> Result<Result<Head, Tampering>, RegistryError> {
    Ok(audit::verify(db, &chain(hasher), noted).await?)
}
