//! Errors that several account services share.

use crate::access::{AccessError, from_access_causes};
use crate::limits::RateLimitState;
use crate::passwords::PasswordError;
use crate::tenant_data::staff_changes::StaffError;

/// Reason why a proof of identity is refused.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The email, the password or the code is wrong. The error does not say which, so that it
    /// reveals no account.
    #[error("the email address or the password is wrong")]
    InvalidCredentials,
    /// The password is right; a code of the second factor is required as well.
    #[error("a second factor is asked for")]
    MfaRequired,
    /// The request has a code, but the account has no second factor.
    #[error("there is no second factor")]
    NoSecondFactor,
    /// The identity provider manages the password and the second factor of this account.
    #[error("an identity provider keeps this account")]
    ManagedByIdentityProvider,
    /// Too many failed sign-ins for this address. Unknown addresses get the same error.
    #[error("too many sign-ins have failed")]
    TooManyAttempts(RateLimitState),
    /// Too many passwords are being hashed, or the new one is refused.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The caller is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Reason why a token from an email is refused.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// The token is unknown, used or expired.
    #[error("the token is not valid")]
    InvalidToken,
    /// The new password is refused, or cannot be hashed now.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The account was changed at the same time.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The change of the staff is refused.
    #[error(transparent)]
    Staff(#[from] StaffError),
    /// A database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Reason why no email is sent.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// The account already has this address.
    #[error("this is the account's address already")]
    SameAddress,
    /// `smtp.url` is not set.
    #[error("letters cannot be sent")]
    NotConfigured,
    /// Too many emails to this address were requested.
    #[error("too many letters have been asked for")]
    TooMany(RateLimitState),
    /// The proof of identity is refused.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The caller is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

from_access_causes!(CredentialError, RedeemError, EmailError);

/// The error of an operation that verifies an identity, as the login throttle and the response
/// delay see it.
pub trait SignInFailure: From<CredentialError> {
    /// True if the client guessed a secret and was wrong.
    fn is_wrong_guess(&self) -> bool;

    /// True if the error is returned only to a client that knows the password. Its response is not
    /// delayed.
    fn proves_password(&self) -> bool;
}

impl SignInFailure for CredentialError {
    fn is_wrong_guess(&self) -> bool {
        matches!(self, Self::InvalidCredentials)
    }

    fn proves_password(&self) -> bool {
        matches!(self, Self::MfaRequired)
    }
}
