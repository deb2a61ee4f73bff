//! The input of a run. It is sealed in the run's row, because it holds personal data, and it is
//! deleted when the run has ended.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::identifiers::RunId;
use crate::registry::tenants::Status;
use crate::sealing::{Sealer, SealingError, aad};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Input {
    Create(CreateInput),
    Reprovision(ReprovisionInput),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CreateInput {
    pub organization_name: String,
    pub slug: Option<String>,
    /// If the wanted slug is taken, it gets a suffix instead of ending the run.
    pub slug_is_a_wish: bool,
    pub timezone: String,
    #[serde(default)]
    pub plan: Option<String>,
    #[serde(default)]
    pub unproven: bool,
    pub owner: Option<OwnerInput>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OwnerInput {
    pub id: Uuid,
    pub email: String,
    /// A PHC string.
    pub password_hash: String,
    pub first_name: String,
    pub last_name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReprovisionInput {
    /// The tenant's status before the run, which it gets back at the end.
    pub status: String,
    /// If true, a missing database is created again, without any tenant data.
    pub accept_empty: bool,
    /// Added if the tenant has no staff.
    pub owner: Option<OwnerInput>,
}

impl ReprovisionInput {
    pub fn former(&self) -> Option<Status> {
        sea_orm::ActiveEnum::try_from_value(&self.status).ok()
    }
}

impl Input {
    pub fn seal(&self, sealer: &Sealer, run: RunId) -> Result<Vec<u8>, SealingError> {
        let plain = serde_json::to_vec(self).map_err(|_| SealingError::Unreadable)?;
        sealer.seal(&aad::run_input(run), &plain)
    }

    pub fn open(sealer: &Sealer, run: RunId, sealed: &[u8]) -> Result<Self, SealingError> {
        let plain = sealer.open(&aad::run_input(run), sealed)?;
        serde_json::from_slice(&plain).map_err(|_| SealingError::Unreadable)
    }
}
