//! Step-up: operations that could take over an account or an organization need more than a token.
//! They need password and second factor again, in the same session, at most a few minutes ago. A
//! sign-in does not count as a step-up, because its token may be the stolen one.

use super::authenticator::Authenticator;
use super::caller::Caller;
use crate::registry::RegistryError;
use crate::registry::people::step_ups;

impl Authenticator {
    /// True if the caller's step-up is still fresh. Service clients and operators cannot do one
    /// here. A token of an identity provider says when its user was last verified there.
    pub async fn has_stepped_up(&self, caller: &Caller) -> Result<bool, RegistryError> {
        let now = self.clock.now();
        match caller {
            Caller::Staff(claims) if self.is_issued_by_clerk(claims) => {
                Ok(claims.proven_until.is_some_and(|until| until > now.timestamp()))
            }
            Caller::Staff(claims) => {
                let registry = self.registry.connect().await?;
                Ok(step_ups::is_fresh(&registry, claims.sid, now).await?)
            }
            Caller::Service(_) | Caller::Operator(_) => Ok(false),
        }
    }
}
