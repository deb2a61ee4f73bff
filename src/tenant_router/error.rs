//! Why a tenant's database cannot be used.

use std::time::Duration;

use super::reasons::Refusal;
use crate::postgres::ConnectFailure;
use crate::registry::RegistryError;

/// Why a tenant's database cannot be used now. A busy pool is never reported as a dead database.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// No tenant has the id or the host.
    #[error("there is no such tenant")]
    Unknown,
    /// An operator has locked the tenant.
    #[error("the tenant is suspended")]
    Suspended,
    /// The tenant has been deleted.
    #[error("the tenant is deleted")]
    Deleted,
    /// The tenant's database is still being made.
    #[error("the tenant is being made")]
    Provisioning,
    /// The tenant's database could not be made.
    #[error("the tenant could not be made")]
    Failed,
    /// The tenant's database lacks migrations that this program needs.
    #[error("the tenant's schema is older than this program supports")]
    SchemaOutdated,
    /// Every open pool is in use and no further one may be opened.
    #[error("every open tenant is in use")]
    Saturated,
    /// Every connection of the tenant's pool is in use.
    #[error("every connection of the tenant is in use")]
    PoolBusy,
    /// The tenant's database cannot be reached, or is not the one it should be.
    #[error("the tenant's database is not available: {0}")]
    Unavailable(ConnectFailure),
    /// The registry, which has the tenant's address, did not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl RouterError {
    pub(super) fn of_connect(failure: ConnectFailure) -> Self {
        match failure {
            ConnectFailure::NoPermit => Self::Saturated,
            failure => Self::Unavailable(failure),
        }
    }

    /// The reason under which the error is counted.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Unknown => Refusal::Unknown,
            Self::Suspended => Refusal::Suspended,
            Self::Deleted => Refusal::Deleted,
            Self::Provisioning => Refusal::Provisioning,
            Self::Failed => Refusal::Failed,
            Self::SchemaOutdated => Refusal::SchemaOutdated,
            Self::Saturated => Refusal::Saturated,
            Self::PoolBusy => Refusal::PoolBusy,
            Self::Unavailable(ConnectFailure::BackingOff { .. }) => Refusal::BackingOff,
            Self::Unavailable(ConnectFailure::WrongIdentity(_)) => Refusal::WrongIdentity,
            Self::Unavailable(_) => Refusal::Unavailable,
            Self::Registry(_) => Refusal::Registry,
        }
    }

    /// The time after which another attempt makes sense. `None` if it is unknown.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(ConnectFailure::BackingOff { retry_after, .. }) => Some(*retry_after),
            _ => None,
        }
    }
}
