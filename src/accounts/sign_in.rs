//! Sign-in with email and password. An unknown address, a wrong password and an unreachable tenant
//! take the same path: they cost the same number of hashes and get the same response after the same
//! time.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tokio::time::Instant;

use super::account_lookup::AccountLookup;
use super::credentials::{CredentialChecker, SecondFactor, password_of};
use super::email_verification::EmailVerification;
use super::error::{CredentialError, SignInFailure};
use super::sessions::{Sessions, SignedIn, TokenPair};
use crate::access::{AccessError, Client, from_access_causes};
use crate::clock::Clock;
use crate::identifiers::{EmailAddress, TenantId};
use crate::passwords::{PasswordError, Passwords};
use crate::registry::Registry;
use crate::registry::tenants::{self, Tenant};
use crate::tenant_data::staff::{self, StaffMember};
use crate::tenant_router::{HostName, RouterError, TenantDb, TenantRouter};

/// Reason why a sign-in is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The credentials are valid in several tenants; the client must name one.
    #[error("the credentials belong to several organizations")]
    SelectTenant(Vec<TenantChoice>),
    /// The credentials are refused.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The host names another tenant, or the tenant cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(LoginError);

impl From<PasswordError> for LoginError {
    fn from(error: PasswordError) -> Self {
        CredentialError::from(error).into()
    }
}

impl SignInFailure for LoginError {
    fn is_wrong_guess(&self) -> bool {
        matches!(self, Self::Credentials(error) if error.is_wrong_guess())
    }

    fn proves_password(&self) -> bool {
        match self {
            Self::SelectTenant(_) => true,
            Self::Credentials(error) => error.proves_password(),
            Self::Access(_) => false,
        }
    }
}

/// One of several tenants that the credentials are valid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantChoice {
    /// Slug to send with the next attempt.
    pub slug: String,
    /// Name of the organization, for display.
    pub organization_name: String,
}

/// A failed sign-in is answered this long after its request at the earliest. The delay hides the
/// query in the tenant's database, which an unknown address does not need.
pub(crate) const FAILURE_TIME: Duration = Duration::from_millis(400);

/// The credentials of a sign-in.
pub struct LoginCredentials {
    /// The email address. `None` if the text is not an address; such a text has no account.
    pub email: Option<EmailAddress>,
    /// The password in plain text.
    pub password: SecretString,
    /// The second factor, for accounts that have one.
    pub factor: Option<SecondFactor>,
    /// Slug of the tenant, for users with accounts in several tenants.
    pub tenant: Option<String>,
}

/// Signs in members of staff.
#[derive(Clone)]
pub struct SignIn {
    pub(super) registry: Registry,
    pub(super) router: TenantRouter,
    pub(super) lookup: AccountLookup,
    pub(super) credentials: CredentialChecker,
    pub(super) hasher: Arc<Passwords>,
    pub(super) sessions: Sessions,
    pub(super) verification: EmailVerification,
    pub(super) clock: Clock,
}

impl SignIn {
    /// Signs a user in. If `host` names a tenant, the sign-in is limited to it, as if the
    /// credentials named it.
    pub async fn login(
        &self,
        mut credentials: LoginCredentials,
        host: Option<&HostName<'_>>,
        client: &Client,
    ) -> Result<SignedIn, LoginError> {
        let earliest_failure = Instant::now() + FAILURE_TIME;
        let named = self.lookup.named_tenant(credentials.tenant.take(), host).await;
        let named = match named {
            Ok(named) => named,
            Err(error) => {
                tokio::time::sleep_until(earliest_failure).await;
                return Err(error.into());
            }
        };
        credentials.tenant = named;
        let result = match credentials.email.clone() {
            // A text that is not an address has no account to protect from guesses.
            None => self.check(credentials, client).await,
            Some(email) => {
                let is_theirs = |session: &SignedIn| self.credentials.is_proven(&session.user);
                let proof = self.check(credentials, client);
                self.credentials.counted(&email, client, is_theirs, proof).await
            }
        };
        wait_for_failure(&result, earliest_failure).await;
        result
    }

    async fn check(
        &self,
        credentials: LoginCredentials,
        client: &Client,
    ) -> Result<SignedIn, LoginError> {
        let accounts = match &credentials.email {
            Some(email) => self.lookup.accounts(email, credentials.tenant.as_deref()).await?,
            None => Vec::new(),
        };
        if accounts.is_empty() {
            // No account: one comparison with a decoy hash, so that the response takes as long as
            // for an existing account.
            self.hasher.verify(credentials.password, None).await?;
            return Err(CredentialError::InvalidCredentials.into());
        }
        let mut proven = Vec::new();
        for (tenant, user) in accounts {
            let stored = password_of(&user);
            if self.hasher.verify(credentials.password.clone(), stored).await? {
                self.rehash(&tenant, &user, &credentials.password).await;
                proven.push((tenant, user));
            }
        }
        match proven.len() {
            0 => Err(CredentialError::InvalidCredentials.into()),
            1 => {
                let (tenant, user) = proven.remove(0);
                let factor = credentials.factor.as_ref();
                let db = self.router.connect(&tenant).await?;
                self.credentials.check_factor(&db, &tenant, &user, factor).await?;
                self.open(db, tenant, user, client).await
            }
            _ => Err(LoginError::SelectTenant(
                proven
                    .into_iter()
                    .map(|(tenant, _)| TenantChoice {
                        slug: tenant.slug.clone(),
                        organization_name: tenant.organization_name.clone(),
                    })
                    .collect(),
            )),
        }
    }

    /// Hashes the password again if the cost settings have changed. On failure, the next sign-in
    /// tries again.
    async fn rehash(&self, tenant: &Arc<Tenant>, user: &StaffMember, password: &SecretString) {
        if !self.hasher.is_outdated(&user.password_hash) {
            return;
        }
        let Ok(hash) = self.hasher.hash(password.clone()).await else { return };
        if let Ok(db) = self.router.connect(tenant).await
            && let Err(error) = staff::rehash(&db, user.id, (&user.password_hash, hash)).await
        {
            tracing::warn!(%error, "a password could not be hashed anew");
        }
    }

    /// Opens a session for a user with a verified password or a new account.
    async fn open(
        &self,
        db: TenantDb,
        tenant: Arc<Tenant>,
        user: StaffMember,
        client: &Client,
    ) -> Result<SignedIn, LoginError> {
        let now = self.clock.now();
        let tokens = self.sessions.open(&db, &user, client, now).await?;
        Ok(self.signed_in(db, (tenant, user), tokens, now).await)
    }

    /// Finishes a sign-in after its session was opened. Failures are logged and do not fail the
    /// sign-in.
    pub(super) async fn signed_in(
        &self,
        db: TenantDb,
        (tenant, mut user): (Arc<Tenant>, StaffMember),
        tokens: TokenPair,
        now: DateTime<Utc>,
    ) -> SignedIn {
        if let Err(error) = staff::record_login(&db, user.id, now).await {
            tracing::warn!(tenant = %tenant.id, %error, "a sign-in was not noted");
        }
        if let Err(error) = self.verification.ask(&db, &user).await {
            tracing::warn!(tenant = %tenant.id, %error, "a letter by which somebody proves their address was not sent");
        }
        user.last_login_at = Some(now);
        SignedIn { tenant, user, tokens }
    }

    /// Signs in the owner of a newly registered tenant. `password` is given for a repeated
    /// registration: the owner may have changed the password since.
    pub async fn sign_in_owner(
        &self,
        tenant: TenantId,
        owner: uuid::Uuid,
        password: Option<SecretString>,
        client: &Client,
    ) -> Result<SignedIn, LoginError> {
        let unknown = || LoginError::from(RouterError::Unknown);
        // Read from the registry, because the directory may hold a negative entry from before the
        // tenant existed.
        let registry = self.registry.connect().await?;
        let tenant = tenants::find(&registry, tenant).await?.map(Arc::new).ok_or_else(unknown)?;
        drop(registry);
        let db = self.router.connect(&tenant).await?;
        let user = staff::find_active(&db, owner).await?;
        drop(db);
        let user = match password {
            None => user.ok_or_else(unknown)?,
            Some(password) => {
                let stored = user.as_ref().and_then(password_of);
                let proof = async {
                    let is_right = self.hasher.verify(password, stored).await?;
                    is_right.then_some(()).ok_or(CredentialError::InvalidCredentials)
                };
                match &user {
                    // This path must not allow more guesses than a sign-in allows.
                    Some(user) => self.credentials.counted_for(user, client, proof).await?,
                    None => proof.await?,
                }
                user.ok_or(CredentialError::InvalidCredentials)?
            }
        };
        let db = self.router.connect(&tenant).await?;
        // A repeated registration has no code, so an owner with a second factor has to use the
        // sign-in.
        self.credentials.check_factor(&db, &tenant, &user, None).await?;
        self.open(db, tenant, user, client).await
    }
}

/// Delays a failure until `earliest`. Failures that require the password are not delayed.
pub(crate) async fn wait_for_failure<T, E: SignInFailure>(
    result: &Result<T, E>,
    earliest: Instant,
) {
    if result.as_ref().is_err_and(|error| !error.proves_password()) {
        tokio::time::sleep_until(earliest).await;
    }
}
