//! Who is calling: signing in and out, access tokens and what revokes them. No routes.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::configuration::{AuthSettings, Settings};
use crate::lifecycle::Lifecycle;
use crate::limits::Standing;
use crate::mail::Mailer;
use crate::passwords::{PasswordError, Passwords};
use crate::registry::signing_keys::Audience;
use crate::registry::{Registry, RegistryError};
use crate::tenant_router::{RouterError, TenantRouter};

mod attempts;
mod clerk;
mod keys;
mod login;
mod operators;
mod opaque_token;
mod recovery;
mod revocation;
mod ring_provider;
mod session;
mod token;
mod totp;

pub use crate::tenant_data::sessions::{Client, Session};
use attempts::Attempts;
use clerk::ClerkTokens;
pub use keys::{KeyRing, Keys, PublicJwk};
pub use login::{Credentials, SignedIn};
use operators::OperatorTokens;
pub use operators::{
    Enrollment, NewOperator, OperatorCaller, OperatorCredentials, OperatorSession, SecondFactor,
    origin_of,
};
pub use revocation::Revocations;
pub use session::TokenPair;
pub use token::{Claims, TokenError, Tokens};

/// Each takes a connection for a moment; what comes on top is not written.
const LETTERS_AT_ONCE: usize = 16;

/// Why somebody could not be signed in, or a session not be prolonged.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// The email or the password is wrong; which of them is not said.
    #[error("the email address or the password is wrong")]
    InvalidCredentials,
    /// The refresh token is unknown, expired, used or revoked.
    #[error("the refresh token is not valid")]
    InvalidRefreshToken,
    /// The token of a letter is unknown, used up or too old.
    #[error("the token is not valid")]
    InvalidOneTimeToken,
    /// The credentials are right for several tenants; one must be named.
    #[error("the credentials belong to several organizations")]
    SelectTenant(Vec<TenantChoice>),
    /// The tenant that was named, or whose refresh token this is, is not the one to whom the host belongs.
    #[error("the host belongs to another organization")]
    TenantMismatch,
    /// The password is right, and a second factor is asked for.
    #[error("a code of the second factor is needed")]
    MfaRequired,
    /// What is asked for does not go with what is so already.
    #[error("{0}")]
    Conflict(&'static str),
    /// Too many sign-ins to the account have failed. The same for an account that nobody has.
    #[error("too many sign-ins have failed")]
    TooManyAttempts(Standing),
    /// Too many passwords are being checked.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The tenant's database.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// A statement in the tenant's database failed.
    #[error(transparent)]
    Database(#[from] sea_orm::DbErr),
    /// A token could not be made.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl From<RegistryError> for AuthenticationError {
    fn from(error: RegistryError) -> Self {
        Self::Router(error.into())
    }
}

/// One of several tenants that somebody may sign in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantChoice {
    /// What the next attempt must name.
    pub slug: String,
    /// For people.
    pub organization_name: String,
}

/// Everything that signing in and out needs. Clones share it.
#[derive(Clone)]
pub struct Authentication {
    registry: Registry,
    router: TenantRouter,
    passwords: Arc<Passwords>,
    tokens: Arc<Tokens>,
    operator_tokens: Arc<OperatorTokens>,
    clerk: Arc<Option<ClerkTokens>>,
    revocations: Revocations,
    attempts: Arc<Attempts>,
    mailer: Mailer,
    /// Letters that are being written at once.
    letters: Arc<Semaphore>,
    life: Lifecycle,
    settings: AuthSettings,
    clock: Clock,
}

impl Authentication {
    /// Loads the signing keys (at the very first start: makes one) and the revocations, and follows the latter
    /// until `life` stops.
    pub async fn open(
        registry: Registry,
        router: TenantRouter,
        settings: &Settings,
        mailer: Mailer,
        life: &Lifecycle,
        clock: Clock,
    ) -> Result<Self, AuthenticationError> {
        let keys = Keys::load(registry.clone(), Audience::Tenant, life, clock.clone()).await?;
        let operator_keys = Keys::load(registry.clone(), Audience::Operator, life, clock.clone());
        let operator_tokens =
            OperatorTokens::new(operator_keys.await?, &settings.auth, clock.clone());
        let revocations = Revocations::load(registry.clone(), life, clock.clone()).await?;
        Ok(Self {
            passwords: Arc::new(Passwords::new(&settings.auth.argon2)?),
            tokens: Arc::new(Tokens::new(keys, &settings.auth, clock.clone())),
            operator_tokens: Arc::new(operator_tokens),
            clerk: Arc::new(ClerkTokens::new(&settings.clerk, registry.clone(), clock.clone())?),
            registry,
            router,
            revocations,
            attempts: Arc::new(Attempts::new(&settings.limits, &clock)),
            mailer,
            letters: Arc::new(Semaphore::new(LETTERS_AT_ONCE)),
            life: life.clone(),
            settings: settings.auth.clone(),
            clock,
        })
    }

    /// Verifies and makes access tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Makes new keys for tokens to be signed with, for each audience one: see [`Keys`]. Returns their ids.
    pub async fn rotate_keys(&self, at_once: bool) -> Result<[String; 2], RegistryError> {
        let tenants = self.tokens.rotate_keys(at_once).await?;
        Ok([tenants, self.operator_tokens.rotate_keys(at_once).await?])
    }

    /// Hashes passwords.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Who a token speaks for, if its signature, its age and its session are good. What we have not signed may be a
    /// token of Clerk: each of the two looks for its own algorithm, and nothing else, among its own keys.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Claims>, AuthenticationError> {
        let claims = match (self.tokens.verify(token).await, &*self.clerk) {
            (Err(TokenError::Invalid), Some(clerk)) => clerk.verify(token).await?,
            (verified, _) => verified?,
        };
        if self.revocations.is_revoked(claims.sid) {
            return Err(TokenError::Revoked.into());
        }
        Ok(claims)
    }
}
