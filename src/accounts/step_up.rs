//! Step-up of staff: a member of staff proves their identity again, for operations that could take
//! over an account or an organization. `access/step_up.rs` says which operations need it and how
//! long it counts.

use std::sync::Arc;

use secrecy::SecretString;

use super::credentials::{CredentialChecker, SecondFactor};
use super::error::CredentialError;
use crate::access::{Authenticator, Client, PROOF_LIFE, Principal};
use crate::audit::AuditEvent;
use crate::clock::Clock;
use crate::registry::Registry;
use crate::registry::people::step_ups;
use crate::registry::tenants::Tenant;
use crate::tenant_data::staff;
use crate::tenant_router::TenantRouter;

/// Records step-ups of sessions.
#[derive(Clone)]
pub struct StepUp {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) credentials: CredentialChecker,
    pub(super) clock: Clock,
}

impl StepUp {
    /// Verifies everything that a sign-in needs. Failures count as failed sign-ins. The audit log
    /// gets an entry for a success and for wrong credentials.
    pub async fn prove(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        shown: (SecretString, Option<SecondFactor>),
        client: &Client,
    ) -> Result<(), CredentialError> {
        let (session, account) = (by.claims()?.sid, by.claims()?.sub);
        let proven = self.credentials.prove(tenant, by, shown, client).await;
        let event = match &proven {
            Ok(_) => AuditEvent::on("step_up.proven", "session", session),
            Err(CredentialError::InvalidCredentials) => {
                AuditEvent::on("step_up.refused", "session", session)
            }
            // The credentials were not checked, so there is no audit entry.
            Err(_) => return proven.map(drop),
        };
        let db = self.router.connect(tenant).await?;
        let mut is_recorded = false;
        let noted = self.access.change_by(&db, by, async |transaction, _| {
            if let Ok(user) = &proven {
                // The password may have changed while it was verified.
                if !staff::lock_active(transaction, user).await? {
                    return Err(CredentialError::InvalidCredentials);
                }
                // A concurrent change of the password or a suspension waits for this transaction,
                // and then deletes the step-up.
                let (registry, now) = (self.registry.connect().await?, self.clock.now());
                is_recorded = true;
                step_ups::record(&registry, (session, account), now, now + PROOF_LIFE).await?;
            }
            Ok(((), event))
        });
        if let Err(refused) = noted.await {
            // The audit entry was not written, so the step-up must not count.
            if is_recorded {
                let registry = self.registry.connect().await?;
                step_ups::forget_in(&registry, session).await?;
            }
            return Err(refused);
        }
        proven.map(drop)
    }
}
