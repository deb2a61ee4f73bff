//! Who is calling: signing in and out, access tokens and what revokes them. No routes.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::configuration::{AuthSettings, Settings};
use crate::lifecycle::Lifecycle;
use crate::limits::Standing;
use crate::mail::Mailer;
use crate::passwords::{PasswordError, Passwords};
use crate::registry::secrets::signing_keys::Audience;
use crate::registry::{Registry, RegistryError};
use crate::tenant_data::staffing::StaffError;
use crate::tenant_router::{RouterError, TenantRouter};

mod addresses;
mod api_keys;
mod attempts;
mod caller;
mod clerk;
mod email_change;
mod impersonation;
mod keys;
mod login;
mod operators;
mod opaque_token;
mod principal;
mod recovery;
mod revocation;
mod ring_provider;
mod second_factor;
mod session;
mod signing_out;
mod staffing;
mod step_up;
mod token;
mod totp;

pub use crate::audit::Client;
pub use crate::tenant_data::sessions::Session;
pub use api_keys::WantedKey;
use attempts::Attempts;
pub use caller::{Caller, ProgramKey};
use clerk::ClerkTokens;
pub use impersonation::{ImpersonationToken, LONGEST_VISIT, WantedImpersonation};
pub use keys::{KeyRing, Keys, PublicJwk};
pub use login::{Credentials, SignedIn};
use operators::OperatorTokens;
pub use operators::{NewOperator, OperatorCaller, OperatorCredentials, OperatorSession, origin_of};
pub use principal::Principal;
pub use revocation::Revocations;
pub use second_factor::{Enrollment, SecondFactor};
pub use session::TokenPair;
pub use signing_out::SigningOut;
pub use token::{Claims, TokenError, Tokens};

/// Each takes a connection for a moment; what comes on top is not written.
const LETTERS_AT_ONCE: usize = 16;

/// Why somebody could not be signed in, or a session not be prolonged.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// The email or the password is wrong; which of them is not said.
    #[error("the email address or the password is wrong")]
    InvalidCredentials,
    /// The password is right; a code must be shown as well.
    #[error("a second factor is asked for")]
    MfaRequired,
    /// They have a second factor already.
    #[error("there is a second factor already")]
    SecondFactorThere,
    /// They have none.
    #[error("there is no second factor")]
    NoSecondFactor,
    /// A program or an operator asks for what only members of staff have.
    #[error("only members of staff have an account")]
    NotStaff,
    /// Another service keeps their sign-in.
    #[error("an identity provider keeps this account")]
    KeptElsewhere,
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
    /// The caller is not permitted what the change needs.
    #[error("the caller is not permitted `{0}`")]
    NotPermitted(&'static str),
    /// The tenant wants a second factor of everybody, and the caller has none.
    #[error("the caller has to set up a second factor first")]
    MustEnroll,
    /// The caller has to prove once more who they are.
    #[error("the caller has to prove once more who they are")]
    StepUpRequired,
    /// The caller has no session with this id.
    #[error("the caller has no such session")]
    NoSuchSession,
    /// What is asked for does not go with what is so already.
    #[error("{0}")]
    Conflict(&'static str),
    /// Too many sign-ins to the account have failed. The same for an account that nobody has.
    #[error("too many sign-ins have failed")]
    TooManyAttempts(Standing),
    /// Only admins change anything in a tenant.
    #[error("only an admin may change anything in a tenant")]
    NotRaised,
    /// Nobody gives a key what they have not.
    #[error("a key would be permitted `{0}`, and its maker is not")]
    BeyondMaker(String),
    /// Too many letters to the address have been asked for.
    #[error("too many letters have been asked for")]
    TooManyLetters(Standing),
    /// The tenant has invited too many.
    #[error("too many were invited")]
    TooManyInvitations(Standing),
    /// `smtp.url` is not set.
    #[error("letters cannot be sent")]
    NoMail,
    /// The staff is not changed.
    #[error(transparent)]
    Staff(#[from] StaffError),
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

    /// Can people prove that an address is theirs?
    pub fn sends_letters(&self) -> bool {
        self.mailer.is_set_up()
    }

    /// Hashes passwords.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }
}
