//! Reasons why a caller is refused or cannot be checked now.

use sea_orm::DbErr;

use crate::registry::RegistryError;
use crate::sealing::SealingError;
use crate::tenant_router::RouterError;

/// Reason why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not signed by a known key, altered, or not a token at all.
    #[error("the access token is not valid")]
    Invalid,
    /// The token was valid and has expired.
    #[error("the access token has expired")]
    Expired,
    /// The session of the token has been ended.
    #[error("the session of the access token has been ended")]
    Revoked,
    /// An impersonation at the identity provider. The audit log would record the impersonator's
    /// changes as changes by the user.
    #[error("the access token is of somebody who acts as another at the identity provider")]
    Impersonated,
    /// The keys of the issuer cannot be read now, so the token can be neither accepted nor refused.
    #[error("the keys of the token's issuer cannot be read: {0}")]
    KeysUnavailable(String),
    /// A new token could not be signed.
    #[error("an access token could not be signed: {0}")]
    Unsigned(String),
}

/// Reason why a request is refused, or why it cannot be decided now.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The token is not accepted, or a new one could not be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The host or the slug of the request names another tenant than the token or key.
    #[error("the host belongs to another organization")]
    TenantMismatch,
    /// The request is for members of staff only; the caller is a service client or an operator.
    #[error("only members of staff have an account")]
    NotStaff,
    /// The caller lacks the permission that the change needs.
    #[error("the caller is not permitted `{0}`")]
    NotPermitted(&'static str),
    /// The tenant requires a second factor, and the caller has none.
    #[error("the caller has to set up a second factor first")]
    MustEnroll,
    /// The caller has to do a step-up first.
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

/// Implements `From` for an error enum with a variant `Access`, for every error that converts into
/// [`AccessError`], so that `?` works.
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
