//! Operators of the installation: sign-in, their own account, the list of operators, and their
//! impersonation sessions. Their data is in the registry, and they have their own keys and tokens:
//! a token of staff is not valid here, and an operator's token is not valid for a tenant.

mod account;
mod credentials;
mod directory;
mod impersonation;
mod mfa;
mod request_log;
mod sign_in;
mod step_up;

use std::sync::Arc;

use crate::access::Authenticator;
use crate::accounts::LoginThrottle;
use crate::clock::Clock;
use crate::configuration::AuthSettings;
use crate::passwords::Passwords;
use crate::registry::Registry;
use crate::tenant_router::TenantRouter;

pub use account::OperatorAccount;
use credentials::OperatorCredentialChecker;
pub use directory::{DirectoryError, NewOperator, OperatorDirectory};
pub use impersonation::{
    ImpersonationError, ImpersonationToken, Impersonations, WantedImpersonation,
};
pub use request_log::{RequestLog, origin_of};
pub use sign_in::{OperatorCredentials, OperatorSession, OperatorSignIn};

/// All operator services. Clones share all state.
#[derive(Clone)]
pub struct Operators {
    /// Sign-in with email and password.
    pub sign_in: OperatorSignIn,
    /// Sign-out, password, second factor and step-up of an operator.
    pub account: OperatorAccount,
    /// The list of operators.
    pub directory: OperatorDirectory,
    /// Impersonation sessions of operators.
    pub impersonations: Impersonations,
    /// Audit log entries of operators' requests.
    pub requests: RequestLog,
    mfa_required: bool,
}

impl Operators {
    /// Creates all operator services from the parts that they share. The password hasher and the
    /// login throttle are those of staff.
    pub fn new(
        access: Authenticator,
        registry: Registry,
        router: TenantRouter,
        hasher: Arc<Passwords>,
        throttle: Arc<LoginThrottle>,
        settings: &AuthSettings,
        clock: Clock,
    ) -> Self {
        let credentials = OperatorCredentialChecker {
            registry: registry.clone(),
            hasher: hasher.clone(),
            throttle,
            clock: clock.clone(),
        };
        Self {
            sign_in: OperatorSignIn {
                access: access.clone(),
                registry: registry.clone(),
                hasher: hasher.clone(),
                credentials: credentials.clone(),
                clock: clock.clone(),
            },
            account: OperatorAccount {
                registry: registry.clone(),
                hasher: hasher.clone(),
                credentials,
                clock: clock.clone(),
            },
            directory: OperatorDirectory {
                registry: registry.clone(),
                hasher,
                clock: clock.clone(),
            },
            requests: RequestLog { registry: registry.clone(), clock: clock.clone() },
            impersonations: Impersonations { access, registry, router, clock },
            mfa_required: settings.operator_mfa_required,
        }
    }

    /// True if an operator without a second factor can only set one up.
    pub fn requires_mfa(&self) -> bool {
        self.mfa_required
    }
}
