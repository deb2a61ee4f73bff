//! People who run the installation: signing in, what they do to their own account, who is one of them, and their sessions in a
//! tenant. They live in the registry, and have keys and tokens of their own: nothing of a tenant's staff is good here, and the other
//! way round.

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

/// The services of operators. Clones share everything.
#[derive(Clone)]
pub struct Operators {
    /// Signing in.
    pub sign_in: OperatorSignIn,
    /// What operators do to their own account.
    pub account: OperatorAccount,
    /// Who is an operator.
    pub directory: OperatorDirectory,
    /// Sessions of operators in a tenant.
    pub impersonations: Impersonations,
    /// The entry of each request.
    pub requests: RequestLog,
    mfa_required: bool,
}

impl Operators {
    /// The services of operators, on these parts. Passwords are hashed, and failed sign-ins counted, as those of staff.
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

    /// Can an operator without a second factor do nothing but set one up?
    pub fn requires_mfa(&self) -> bool {
        self.mfa_required
    }
}
