//! Tokens that are sent by email: good once, for a while, and as long as the account still has the address.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::TransactionTrait;

use super::error::{CredentialError, RedeemError};
use crate::access::OpaqueToken;
use crate::clock::Clock;
use crate::identifiers::TenantId;
use crate::postgres::Scoped;
use crate::registry::Registry;
use crate::registry::tenants::Tenant;
use crate::tenant_data::one_time_tokens::{self, OneTimeToken, Purpose};
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::{TenantDb, TenantRouter, TenantTransaction};

/// Makes and redeems tokens that are sent by email.
#[derive(Clone)]
pub struct OneTimeTokens {
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) clock: Clock,
}

impl OneTimeTokens {
    /// A new token for somebody, as it is sent.
    pub async fn issue(
        &self,
        db: &TenantDb,
        user: &StaffMember,
        purpose: Purpose,
        life: TimeDelta,
    ) -> Result<String, CredentialError> {
        let tenant = TenantId(db.scope().tenant().id);
        let token = OpaqueToken::generate(tenant, self.registry.sealer())?;
        let now = self.clock.now();
        let issued = async |transaction: &TenantTransaction| {
            // They may have been removed meanwhile.
            if !staff::lock_active(transaction, user).await? {
                return Err(CredentialError::InvalidCredentials);
            }
            let whose = (user.id, &*user.email);
            let until = now + life;
            one_time_tokens::add(transaction, token.hash(), purpose, whose, now, until).await?;
            Ok(())
        };
        db.begin().await?.run(issued).await?;
        Ok(token.to_text())
    }

    /// A token that somebody brings, and the database in which it may be.
    pub async fn locate(
        &self,
        text: &str,
    ) -> Result<(OpaqueToken, Arc<Tenant>, TenantDb), RedeemError> {
        let refused = || RedeemError::InvalidToken;
        let token = OpaqueToken::parse(text).ok_or_else(refused)?;
        let tenant = self.router.directory().tenant(token.tenant).await?.ok_or_else(refused)?;
        let db = self.router.connect(&tenant).await?;
        Ok((token, tenant, db))
    }
}

/// Whose token it is: it is used up, and good only if they are still there and have the address it was sent to.
pub async fn take(
    transaction: &TenantTransaction,
    token: &OpaqueToken,
    purpose: Purpose,
    now: DateTime<Utc>,
) -> Result<Option<StaffMember>, RedeemError> {
    let taken = one_time_tokens::take(transaction, token.hash(), purpose, now).await?;
    let Some(OneTimeToken { staff_id, email, .. }) = taken else { return Ok(None) };
    let user = staff::find_active(transaction, staff_id).await?;
    Ok(user.filter(|user| user.email == email))
}
