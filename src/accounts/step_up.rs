//! Step-up: a member of staff proves their identity once more, for what can take an account or an organization over. What asks for
//! it, and how long it counts, says `access/step_up.rs`.

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

/// Raises sessions for a few minutes.
#[derive(Clone)]
pub struct StepUp {
    pub(super) access: Authenticator,
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) credentials: CredentialChecker,
    pub(super) clock: Clock,
}

impl StepUp {
    /// A member of staff shows all that a sign-in would ask of them; counted like one, and written down either way.
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
            // Not even looked at.
            Err(_) => return proven.map(drop),
        };
        let db = self.router.connect(tenant).await?;
        let mut is_recorded = false;
        let noted = self.access.change_by(&db, by, async |transaction, _| {
            if let Ok(user) = &proven {
                // Their password may have changed while it was being checked.
                if !staff::lock_active(transaction, user).await? {
                    return Err(CredentialError::InvalidCredentials);
                }
                // Whoever changes it, or shuts them out, waits for this transaction, and then takes the proof back.
                let (registry, now) = (self.registry.connect().await?, self.clock.now());
                is_recorded = true;
                step_ups::record(&registry, (session, account), now, now + PROOF_LIFE).await?;
            }
            Ok(((), event))
        });
        if let Err(refused) = noted.await {
            // No entry tells of it.
            if is_recorded {
                let registry = self.registry.connect().await?;
                step_ups::forget_in(&registry, session).await?;
            }
            return Err(refused);
        }
        proven.map(drop)
    }
}
