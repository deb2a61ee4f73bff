//! Why an attempt at a step failed, with its cause, and whether another attempt may succeed.

use sea_orm::DbErr;

use super::hooks::HookError;
use crate::postgres::administration::AdministrationError;
use crate::postgres::{ConnectFailure, failure};
use crate::registry::RegistryError;
use crate::registry::runs::run_leases::LeaseLost;
use crate::sealing::SealingError;
use crate::tenant_data::seed::SeedError;
use crate::tenant_router::RouterError;

/// A reason that no other attempt changes, and that the client may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The email address has registered a tenant already.
    #[error("this email address has already registered an organization")]
    EmailTaken,
    /// The wanted slug belongs to another tenant.
    #[error("this slug is already in use")]
    SlugTaken,
    /// An operator has cancelled the run.
    #[error("an operator has cancelled this")]
    Cancelled,
}

impl Refusal {
    /// A stable code for clients and the run's row.
    pub fn code(self) -> &'static str {
        match self {
            Self::EmailTaken => "email_taken",
            Self::SlugTaken => "slug_taken",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) fn of_code(code: &str) -> Option<Self> {
        [Self::EmailTaken, Self::SlugTaken, Self::Cancelled]
            .into_iter()
            .find(|refusal| refusal.code() == code)
    }
}

/// Why an attempt at a step failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::provisioning) enum StepError {
    /// A transient error: another attempt may succeed.
    #[error("{0}")]
    Transient(String),
    /// A permanent error: no other attempt succeeds.
    #[error("{0}")]
    Permanent(String),
    /// Rejected: no other attempt succeeds, and the client is told why.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Administration(#[from] AdministrationError),
    #[error(transparent)]
    Router(#[from] RouterError),
    #[error(transparent)]
    Statement(#[from] DbErr),
    #[error(transparent)]
    Sealing(#[from] SealingError),
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error(transparent)]
    Hook(#[from] HookError),
}

impl StepError {
    /// True if another attempt may succeed. In doubt it is true: one more attempt costs less than a
    /// tenant.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Transient(_) | Self::LeaseLost(_) => true,
            Self::Permanent(_) | Self::Refused(_) => false,
            Self::Registry(error) => registry_may(error),
            Self::Administration(error) => administration_may(error),
            Self::Router(error) => router_may(error),
            Self::Statement(error) => statement_may(error),
            Self::Sealing(error) => sealing_may(error),
            Self::Seed(SeedError::Query(error)) => statement_may(error),
            // Missing rows do not appear by waiting.
            Self::Seed(SeedError::Incomplete(_)) => false,
            Self::Hook(error) => !error.is_final(),
        }
    }
}

fn registry_may(error: &RegistryError) -> bool {
    match error {
        RegistryError::Unavailable(_) | RegistryError::SchemaBehind(_) => true,
        // This error concerns an operator's request, and a step belongs to none.
        RegistryError::Lost(_) => false,
        RegistryError::BadUrl(_) | RegistryError::TalkedDown(_) => false,
        RegistryError::Statement(error) => statement_may(error),
        RegistryError::Sealing(error) => sealing_may(error),
        RegistryError::Administration(error) => administration_may(error),
    }
}

fn administration_may(error: &AdministrationError) -> bool {
    match error {
        AdministrationError::Connect(failure) => connect_may(failure),
        AdministrationError::Statement(error) => code_may(
            error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(),
        ),
        AdministrationError::BadName(_) => false,
        AdministrationError::InUse(_) => true,
        AdministrationError::Migration(error) => statement_may(error),
    }
}

fn router_may(error: &RouterError) -> bool {
    match error {
        RouterError::Unknown | RouterError::Deleted => false,
        RouterError::Suspended
        | RouterError::Provisioning
        | RouterError::Failed
        | RouterError::SchemaOutdated
        | RouterError::Saturated
        | RouterError::PoolBusy => true,
        RouterError::Unavailable(failure) => connect_may(failure),
        RouterError::Registry(error) => registry_may(error),
    }
}

/// A rejected login, a wrong address or a wrong certificate can be corrected while the run waits.
fn connect_may(failure: &ConnectFailure) -> bool {
    match failure {
        ConnectFailure::WrongIdentity(_) => false,
        ConnectFailure::BackingOff { last, .. } => connect_may(last),
        _ => true,
    }
}

fn statement_may(error: &DbErr) -> bool {
    code_may(failure::sqlstate(error).as_deref())
}

/// Values that do not fit (22), violated constraints (23) and syntax errors (42601) stay. A missing
/// right can be granted, and a missing object can appear.
fn code_may(sqlstate: Option<&str>) -> bool {
    sqlstate.is_none_or(|code| !["22", "23"].contains(&&code[..2]) && code != "42601")
}

/// A process that lacks a master key fails where another process may succeed, after the operator
/// gives it the key.
fn sealing_may(error: &SealingError) -> bool {
    match error {
        SealingError::UnknownKey | SealingError::NoRandomness => true,
        SealingError::BadMasterKey | SealingError::Unreadable => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_name_that_is_none(AdministrationError::BadName("x;".to_owned()).into(), false)]
    #[case::a_database_in_use(AdministrationError::InUse("x".to_owned()).into(), true)]
    #[case::a_server_that_is_away(AdministrationError::Connect(ConnectFailure::Timeout).into(), true)]
    #[case::an_unknown_tenant(RouterError::Unknown.into(), false)]
    #[case::a_tenant_without_room(RouterError::PoolBusy.into(), true)]
    #[case::the_wrong_database(
        RouterError::Unavailable(ConnectFailure::WrongIdentity(String::new())).into(),
        false
    )]
    #[case::an_altered_secret(SealingError::Unreadable.into(), false)]
    #[case::the_same_by_way_of_the_registry(
        RouterError::Registry(RegistryError::Sealing(SealingError::Unreadable)).into(),
        false
    )]
    #[case::a_key_that_this_process_lacks(SealingError::UnknownKey.into(), true)]
    #[case::a_registry_that_is_away(RegistryError::Unavailable(String::new()).into(), true)]
    fn a_step_is_repeated_only_for_what_may_pass(#[case] error: StepError, #[case] may_pass: bool) {
        assert_eq!(error.may_pass(), may_pass, "{error}");
    }

    #[rstest]
    #[case(None, true)]
    #[case(Some("57P01"), true)]
    #[case(Some("42501"), true)]
    #[case(Some("40001"), true)]
    #[case(Some("22001"), false)]
    #[case(Some("23514"), false)]
    fn a_refused_statement_is_judged_by_its_sqlstate(
        #[case] code: Option<&str>,
        #[case] may_pass: bool,
    ) {
        assert_eq!(code_may(code), may_pass);
    }
}
