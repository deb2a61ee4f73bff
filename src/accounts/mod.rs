//! Staff of tenants: signing in and out, sessions, passwords, second factors, addresses, invitations, API keys. A service of its own
//! for each of them, with the failures that it really has.

mod account_lookup;
mod api_keys;
mod credentials;
mod email_change;
mod email_index_sync;
mod email_throttle;
mod email_verification;
mod error;
mod invitations;
mod login_throttle;
mod mfa;
mod one_time_tokens;
mod passwords;
mod sessions;
mod sign_in;
mod sign_out;
mod staff;
mod step_up;
mod totp;

use std::sync::Arc;

use crate::access::Authenticator;
use crate::clock::Clock;
use crate::configuration::Settings;
use crate::lifecycle::Lifecycle;
use crate::mail::Mailer;
use crate::passwords::{PasswordError, Passwords};
use crate::registry::Registry;
use crate::tenant_router::TenantRouter;

pub use crate::tenant_data::sessions::Session;
use account_lookup::AccountLookup;
pub use api_keys::{ApiKeyError, ApiKeys, WantedKey};
pub use credentials::{CredentialChecker, SecondFactor};
pub use email_change::EmailChanges;
pub use email_index_sync::EmailIndexSync;
use email_throttle::EmailThrottle;
pub use email_verification::EmailVerification;
pub use error::{CredentialError, EmailError, RedeemError, SignInFailure};
pub use invitations::{InvitationError, Invitations};
pub use login_throttle::LoginThrottle;
pub use mfa::{Enrollment, Mfa, MfaError};
use one_time_tokens::OneTimeTokens;
pub use passwords::{PasswordChange, PasswordChanges};
pub use sessions::{SessionError, Sessions, SignedIn, TokenPair};
pub(crate) use sign_in::{FAILURE_TIME, wait_for_failure};
pub use sign_in::{LoginCredentials, LoginError, SignIn, TenantChoice};
pub use sign_out::SigningOut;
pub use staff::{StaffAdministration, StaffAdministrationError};
pub use step_up::StepUp;
pub(crate) use totp::{TotpSecret, recovery_codes, recovery_hash};

/// The services of accounts. Clones share everything.
#[derive(Clone)]
pub struct Accounts {
    /// Signing in.
    pub sign_in: SignIn,
    /// Sessions, from the first refresh to signing out.
    pub sessions: Sessions,
    /// Proofs of identity of callers who are signed in.
    pub credentials: CredentialChecker,
    /// Proofs that raise a session for a few minutes.
    pub step_up: StepUp,
    /// Forgotten and changed passwords.
    pub passwords: PasswordChanges,
    /// Second factors.
    pub mfa: Mfa,
    /// Proofs that an address belongs to its account.
    pub email_verification: EmailVerification,
    /// Moves of an account to another address.
    pub email_changes: EmailChanges,
    /// Invitations to the staff.
    pub invitations: Invitations,
    /// Changes of the staff.
    pub staff: StaffAdministration,
    /// Keys of service clients.
    pub api_keys: ApiKeys,
    /// The registry's index of addresses, kept in step with the tenants.
    pub email_index: EmailIndexSync,
    hasher: Arc<Passwords>,
    login_throttle: Arc<LoginThrottle>,
    mailer: Mailer,
}

impl Accounts {
    /// The services of accounts, on these parts.
    pub fn new(
        access: Authenticator,
        registry: Registry,
        router: TenantRouter,
        settings: &Settings,
        mailer: Mailer,
        life: &Lifecycle,
        clock: Clock,
    ) -> Result<Self, PasswordError> {
        let hasher = Arc::new(Passwords::new(&settings.auth.argon2)?);
        let login_throttle = Arc::new(LoginThrottle::new(&settings.limits, &clock));
        let email_throttle = Arc::new(EmailThrottle::new(&settings.limits, &clock));
        let lookup = AccountLookup { registry: registry.clone(), router: router.clone() };
        let email_index = EmailIndexSync { registry: registry.clone(), router: router.clone() };
        let credentials = CredentialChecker {
            registry: registry.clone(),
            router: router.clone(),
            lookup: lookup.clone(),
            hasher: hasher.clone(),
            throttle: login_throttle.clone(),
            // Without email nobody can prove an address.
            addresses_are_proven: mailer.is_configured(),
            clock: clock.clone(),
        };
        let sessions = Sessions {
            access: access.clone(),
            registry: registry.clone(),
            router: router.clone(),
            refresh_life: sessions::refresh_life(&settings.auth),
            clock: clock.clone(),
        };
        let tokens = OneTimeTokens {
            registry: registry.clone(),
            router: router.clone(),
            clock: clock.clone(),
        };
        let email_verification = EmailVerification {
            access: access.clone(),
            registry: registry.clone(),
            tokens: tokens.clone(),
            throttle: email_throttle.clone(),
            mailer: mailer.clone(),
            clock: clock.clone(),
        };
        let sign_in = SignIn {
            registry: registry.clone(),
            router: router.clone(),
            lookup: lookup.clone(),
            credentials: credentials.clone(),
            hasher: hasher.clone(),
            sessions: sessions.clone(),
            verification: email_verification.clone(),
            clock: clock.clone(),
        };
        let step_up = StepUp {
            access: access.clone(),
            registry: registry.clone(),
            router: router.clone(),
            credentials: credentials.clone(),
            clock: clock.clone(),
        };
        let mfa = Mfa {
            access: access.clone(),
            registry: registry.clone(),
            router: router.clone(),
            credentials: credentials.clone(),
            sessions: sessions.clone(),
            clock: clock.clone(),
        };
        let passwords = PasswordChanges {
            access: access.clone(),
            registry: registry.clone(),
            router: router.clone(),
            lookup,
            credentials: credentials.clone(),
            hasher: hasher.clone(),
            sessions: sessions.clone(),
            tokens: tokens.clone(),
            throttle: email_throttle.clone(),
            mailer: mailer.clone(),
            permits: passwords::email_permits(),
            life: life.clone(),
            clock: clock.clone(),
        };
        let email_changes = EmailChanges {
            access: access.clone(),
            registry: registry.clone(),
            router: router.clone(),
            credentials: credentials.clone(),
            index: email_index.clone(),
            tokens: tokens.clone(),
            throttle: email_throttle.clone(),
            mailer: mailer.clone(),
            clock: clock.clone(),
        };
        let invitations = Invitations {
            access: access.clone(),
            registry: registry.clone(),
            router: router.clone(),
            hasher: hasher.clone(),
            sessions: sessions.clone(),
            sign_in: sign_in.clone(),
            index: email_index.clone(),
            tokens,
            throttle: email_throttle,
            mailer: mailer.clone(),
            clock: clock.clone(),
        };
        let staff = StaffAdministration {
            access: access.clone(),
            router,
            sessions: sessions.clone(),
            index: email_index.clone(),
            clock: clock.clone(),
        };
        let api_keys = ApiKeys { access, registry, clock };
        Ok(Self {
            sign_in,
            sessions,
            credentials,
            step_up,
            passwords,
            mfa,
            email_verification,
            email_changes,
            invitations,
            staff,
            api_keys,
            email_index,
            hasher,
            login_throttle,
            mailer,
        })
    }

    /// Hashes and verifies passwords.
    pub fn hasher(&self) -> &Arc<Passwords> {
        &self.hasher
    }

    /// Counts failed sign-ins.
    pub fn login_throttle(&self) -> &Arc<LoginThrottle> {
        &self.login_throttle
    }

    /// Can people prove that an address is theirs?
    pub fn sends_email(&self) -> bool {
        self.mailer.is_configured()
    }
}
