//! What can take an account or an organization over asks more than a token that lies somewhere: password and second factor, once
//! more, in the same session and a few minutes ago. A sign-in does not count: its token may be the one that was stolen.

use std::sync::Arc;

use chrono::TimeDelta;
use secrecy::SecretString;

use super::{Authentication, AuthenticationError, Caller, Client, Principal, SecondFactor};
use crate::audit::Act;
use crate::registry::people::step_ups;
use crate::registry::tenants::Tenant;
use crate::tenant_data::staff;

/// So long a proof counts.
pub(super) const COUNTS_FOR: TimeDelta = TimeDelta::minutes(5);

impl Authentication {
    /// A member of staff shows all that a sign-in would ask of them; counted like one, and written down either way.
    pub async fn step_up(
        &self,
        tenant: &Arc<Tenant>,
        by: &Principal,
        shown: (SecretString, Option<SecondFactor>),
        client: &Client,
    ) -> Result<(), AuthenticationError> {
        let (session, account) = (by.claims()?.sid, by.claims()?.sub);
        let proven = self.prove(tenant, by, shown, client).await;
        let act = match &proven {
            Ok(_) => Act::on("step_up.proven", "session", session),
            Err(AuthenticationError::InvalidCredentials) => {
                Act::on("step_up.refused", "session", session)
            }
            // Not even looked at.
            Err(_) => return proven.map(drop),
        };
        let db = self.router.connect(tenant).await?;
        let mut is_recorded = false;
        let noted = self.change_by(&db, by, async |transaction, _| {
            if let Ok(user) = &proven {
                // Their password may have changed while it was being checked.
                if !staff::hold_active(transaction, user).await? {
                    return Err(AuthenticationError::InvalidCredentials);
                }
                // Whoever changes it, or shuts them out, waits for this transaction, and then takes the proof back.
                let (registry, now) = (self.registry.connect().await?, self.clock.now());
                is_recorded = true;
                step_ups::record(&registry, (session, account), now, now + COUNTS_FOR).await?;
            }
            Ok(((), act))
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

    /// Has a caller proven once more who they are? Programs cannot. Of whom an identity provider signs in, its token says when they
    /// last showed what it asks of them.
    pub(super) async fn has_stepped_up(
        &self,
        caller: &Caller,
    ) -> Result<bool, AuthenticationError> {
        let now = self.clock.now();
        match caller {
            Caller::Staff(claims) if self.is_clerks(claims) => {
                Ok(claims.proven_until.is_some_and(|until| until > now.timestamp()))
            }
            Caller::Staff(claims) => {
                let registry = self.registry.connect().await?;
                Ok(step_ups::is_fresh(&registry, claims.sid, now).await?)
            }
            Caller::Program(_) | Caller::Operator(_) => Ok(false),
        }
    }
}
