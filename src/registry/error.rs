//! The errors of the registry.

use sea_orm::DbErr;

use crate::postgres::administration::AdministrationError;
use crate::postgres::{CheckoutFailure, failure};
use crate::sealing::SealingError;

/// Why an operator may no longer do what they have begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Their session has ended, or they were disabled.
    #[error("the session of the operator is over")]
    Session,
    /// Their role does not permit the action.
    #[error("the role of the operator does not permit this")]
    Role,
    /// They have no second factor, and one is required.
    #[error("the operator has no second factor")]
    SecondFactor,
}

/// The errors of the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry cannot be reached, or had no connection free in time.
    #[error("the registry is not available: {0}")]
    Unavailable(String),
    /// `registry.url` is not a PostgreSQL URL.
    #[error("registry.url is not usable: {0}")]
    BadUrl(String),
    /// An attacker on the path to the registry could make its connections plain text.
    #[error(
        "registry.url leads over the network to `{0}` without a safe sslmode, so that anybody on the way could read \
         along: add `?sslmode=verify-full` (and `sslrootcert=FILE` for a private authority), or \
         `?sslmode=disable` if that network is yours alone"
    )]
    TalkedDown(String),
    /// The schema lacks migrations that this program needs.
    #[error("the registry's schema is behind; run `narthex migrate registry` ({} pending)", .0.join(", "))]
    SchemaBehind(Vec<String>),
    /// The database refused a statement, for example because of a constraint.
    #[error("the registry refused a statement: {0}")]
    Statement(DbErr),
    /// A sealed value could not be opened.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// Roles or databases of the server could not be administered.
    #[error(transparent)]
    Administration(#[from] AdministrationError),
    /// An operator has lost the right to do what they began.
    #[error(transparent)]
    Lost(Lost),
}

impl From<DbErr> for RegistryError {
    fn from(error: DbErr) -> Self {
        if failure::is_unavailable(&error) {
            Self::Unavailable(error.to_string())
        } else {
            Self::Statement(error)
        }
    }
}

impl From<CheckoutFailure> for RegistryError {
    fn from(failure: CheckoutFailure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}
