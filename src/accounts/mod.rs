//! Accounts of staff: sign-in and sign-out, sessions, passwords, second factors, email addresses,
//! invitations, API keys. Each has its own service with its own errors.

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

/// All account services. Clones share all state.
#[derive(Clone)]
pub struct Accounts {
    /// Sign-in with email and password.
    pub sign_in: SignIn,
    /// Sessions: refresh, list and end.
    pub sessions: Sessions,
    /// Verification of passwords and second factors of signed-in callers.
    pub credentials: CredentialChecker,
    /// Step-up of a session for a few minutes.
    pub step_up: StepUp,
    /// Password resets and changes.
    pub passwords: PasswordChanges,
    /// Enrolment and removal of second factors.
    pub mfa: Mfa,
    /// Verification of email addresses.
    pub email_verification: EmailVerification,
    /// Changes of email addresses.
    pub email_changes: EmailChanges,
    /// Invitations to the staff of a tenant.
    pub invitations: Invitations,
    /// Changes and removals of staff.
    pub staff: StaffAdministration,
    /// API keys of service clients.
    pub api_keys: ApiKeys,
    /// Synchronization of the registry's email index with the tenants.
    pub email_index: EmailIndexSync,
    hasher: Arc<Passwords>,
    login_throttle: Arc<LoginThrottle>,
    mailer: Mailer,
}

impl Accounts {
    /// Creates all account services from the parts that they share.
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
            // Without email no address can be proven.
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

    /// Counts failed sign-ins of staff and operators.
    pub fn login_throttle(&self) -> &Arc<LoginThrottle> {
        &self.login_throttle
    }

    /// True if email is configured, so that users can prove their addresses.
    pub fn sends_email(&self) -> bool {
        self.mailer.is_configured()
    }
}
