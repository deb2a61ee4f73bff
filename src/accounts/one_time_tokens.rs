//! Tokens in emails: each is valid once, until it expires, and only while the account has the
//! address that the email was sent to.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::TransactionTrait;

use super::error::{CredentialError, RedeemError};
use crate::access::OpaqueToken;
use crate::clock::Clock;
use crate::postgres::Scoped;
use crate::registry::Registry;
use crate::registry::tenants::Tenant;
use crate::tenant_data::one_time_tokens::{self, OneTimeToken, Purpose};
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::{TenantDb, TenantRouter, TenantTransaction};

/// Issues and redeems tokens that are sent by email.
#[derive(Clone)]
pub struct OneTimeTokens {
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) clock: Clock,
}

impl OneTimeTokens {
    /// Issues a token for a user and returns its text.
    pub async fn issue(
        &self,
        db: &TenantDb,
        user: &StaffMember,
        purpose: Purpose,
        life: TimeDelta,
    ) -> Result<String, CredentialError> {
        let tenant = db.scope().tenant().id;
        let token = OpaqueToken::generate(tenant, self.registry.sealer())?;
        let now = self.clock.now();
        let issued = async |transaction: &TenantTransaction| {
            // The user may have been removed in the meantime.
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

    /// Parses a token and connects to the database of the tenant that it names. Does not check
    /// whether the token exists.
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

/// Redeems a token and returns its user. `None` if the token is unknown or expired, or if its user
/// is gone or has another address now.
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
