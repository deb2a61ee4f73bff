//! The failures that several services of accounts share.

use crate::access::{AccessError, from_access_causes};
use crate::limits::RateLimitState;
use crate::passwords::PasswordError;
use crate::tenant_data::staff_changes::StaffError;

/// Why a proof of identity is refused.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The email, the password or the code is wrong; which of them is not said.
    #[error("the email address or the password is wrong")]
    InvalidCredentials,
    /// The password is right; a code must be shown as well.
    #[error("a second factor is asked for")]
    MfaRequired,
    /// A code was shown, and the account has no second factor.
    #[error("there is no second factor")]
    NoSecondFactor,
    /// An identity provider keeps the password and the second factor.
    #[error("an identity provider keeps this account")]
    ManagedByIdentityProvider,
    /// Too many sign-ins to the account have failed. The same for an account that nobody has.
    #[error("too many sign-ins have failed")]
    TooManyAttempts(RateLimitState),
    /// Too many passwords are being hashed, or the new one is refused.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The caller is refused, or a database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why a token that came by email is refused.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// It is unknown, used up or too old.
    #[error("the token is not valid")]
    InvalidToken,
    /// The new password is refused, or cannot be hashed now.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The account was changed meanwhile.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The staff does not take the change.
    #[error(transparent)]
    Staff(#[from] StaffError),
    /// A database cannot be reached.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Why no email about an address is sent.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// The account has this address already.
    #[error("this is the account's address already")]
    SameAddress,
    /// `smtp.url` is not set.
    #[error("letters cannot be sent")]
    NotConfigured,
    /// Too many emails to the address have been asked for.
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

/// A failure of something that proves an identity, as the throttle and the clock of sign-ins see it.
pub trait SignInFailure: From<CredentialError> {
    /// Was something guessed, and guessed wrong?
    fn is_wrong_guess(&self) -> bool;

    /// Is it told only to callers who know the password? It need not wait then.
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
