//! What can take an account or an organization over asks more than a token that lies somewhere: password and second factor, once
//! more, in the same session and a few minutes ago. A sign-in does not count: its token may be the one that was stolen.

use super::authenticator::Authenticator;
use super::caller::Caller;
use crate::registry::RegistryError;
use crate::registry::people::step_ups;

impl Authenticator {
    /// Has a caller proven once more who they are? Service clients cannot. The token of an identity provider says when its user last
    /// showed what it asks of them.
    pub async fn has_stepped_up(&self, caller: &Caller) -> Result<bool, RegistryError> {
        let now = self.clock.now();
        match caller {
            Caller::Staff(claims) if self.is_clerks(claims) => {
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
