//! Why a caller is refused, or cannot be judged now.

use sea_orm::DbErr;

use crate::registry::RegistryError;
use crate::sealing::SealingError;
use crate::tenant_router::RouterError;

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not ours, altered, or not a token at all.
    #[error("the access token is not valid")]
    Invalid,
    /// It was good, and its time is over.
    #[error("the access token has expired")]
    Expired,
    /// Its session has been ended.
    #[error("the session of the access token has been ended")]
    Revoked,
    /// Somebody acts as the user at the identity provider. What they did would stand in the audit log as the user's doing.
    #[error("the access token is of somebody who acts as another at the identity provider")]
    Impersonated,
    /// The keys of its issuer cannot be read now, so that nobody can tell whether it is good.
    #[error("the keys of the token's issuer cannot be read: {0}")]
    KeysUnavailable(String),
    /// A new token could not be signed.
    #[error("an access token could not be signed: {0}")]
    Unsigned(String),
}

/// Why a caller may not do what they want, or why that cannot be said now.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The token is not accepted, or a new one could not be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The tenant that the request names, by host or by slug, is not the tenant of what it shows.
    #[error("the host belongs to another organization")]
    TenantMismatch,
    /// A service client or an operator asks for what only members of staff have.
    #[error("only members of staff have an account")]
    NotStaff,
    /// The caller lacks the permission that the change needs.
    #[error("the caller is not permitted `{0}`")]
    NotPermitted(&'static str),
    /// The tenant requires a second factor, and the caller has none.
    #[error("the caller has to set up a second factor first")]
    MustEnroll,
    /// The caller has to prove their identity once more.
    #[error("the caller has to prove once more who they are")]
    StepUpRequired,
    /// The tenant cannot be served, or its database cannot be reached.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// A statement in the tenant's database failed.
    #[error(transparent)]
    Database(#[from] DbErr),
}

impl From<RegistryError> for AccessError {
    fn from(error: RegistryError) -> Self {
        Self::Router(error.into())
    }
}

impl From<SealingError> for AccessError {
    fn from(error: SealingError) -> Self {
        RegistryError::from(error).into()
    }
}

/// Lets `?` make an error that has a variant `Access` from what an [`AccessError`] is made from.
macro_rules! from_access_causes {
    ($($error:ident),+) => {
        $crate::access::from_access_causes!(@each [$($error),+]
            sea_orm::DbErr, $crate::registry::RegistryError, $crate::sealing::SealingError,
            $crate::tenant_router::RouterError, $crate::access::TokenError);
    };
    (@each $errors:tt $($cause:ty),+) => {
        $($crate::access::from_access_causes!(@cause $errors $cause);)+
    };
    (@cause [$($error:ident),+] $cause:ty) => {
        $(impl From<$cause> for $error {
            fn from(cause: $cause) -> Self {
                Self::Access(cause.into())
            }
        })+
    };
}
pub(crate) use from_access_causes;
