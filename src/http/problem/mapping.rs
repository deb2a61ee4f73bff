//! The problems that clients get for each module's errors.

use tracing::Level;

use super::{Choice, FieldError, Problem};
use crate::access::{AccessError, TokenError};
use crate::accounts::{
    ApiKeyError, CredentialError, EmailError, InvitationError, LoginError, MfaError, RedeemError,
    SessionError, StaffAdministrationError,
};
use crate::http::code::Code;
use crate::http::limits;
use crate::limits::NoComputePermit;
use crate::messaging::branches::BranchError;
use crate::messaging::members::MemberError;
use crate::operators::{DirectoryError, ImpersonationError};
use crate::passwords::PasswordError;
use crate::postgres::{ConnectFailure, failure};
use crate::provisioning::{Refusal, RunFailure, StartRunError};
use crate::registry::people::operators::NotChanged;
use crate::registry::{Lost, RegistryError};
use crate::tenant_data::roles::RoleError;
use crate::tenant_data::staff_changes::StaffError;
use crate::tenant_router::RouterError;
use crate::tenants::OwnTenantError;
use crate::webhooks::clerk::ClerkError;
use crate::webhooks::telnyx::WebhookError;

fn internal(error: &dyn std::fmt::Display) -> Problem {
    Problem::from(Code::Internal).because(Level::ERROR, "an unexpected failure", error)
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid => Code::InvalidToken.into(),
            TokenError::Expired => Code::TokenExpired.into(),
            TokenError::Revoked => Code::TokenRevoked.into(),
            TokenError::Impersonated => Self::with_detail(
                Code::Forbidden,
                "Nobody who acts as another user at the identity provider is let in.",
            )
            .because(
                Level::WARN,
                "an impersonation at the identity provider was refused",
                &error,
            ),
            TokenError::KeysUnavailable(_) => Self::with_detail(
                Code::Busy,
                "The keys of the token's issuer cannot be read just now. Please try again.",
            )
            .because(Level::WARN, "a token could not be verified", &error),
            TokenError::Unsigned(_) => internal(&error),
        }
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Unavailable(_) | RegistryError::SchemaBehind(_) => Self::from(
                Code::RegistryUnavailable,
            )
            .because(Level::WARN, "the registry could not serve a request", &error),
            RegistryError::Lost(Lost::Session) => Code::TokenRevoked.into(),
            RegistryError::Lost(Lost::Role) => Code::Forbidden.into(),
            RegistryError::Lost(Lost::SecondFactor) => Code::MfaEnrollmentRequired.into(),
            RegistryError::BadUrl(_)
            | RegistryError::TalkedDown(_)
            | RegistryError::Statement(_)
            | RegistryError::Sealing(_)
            | RegistryError::Administration(_) => internal(&error),
        }
    }
}

impl From<RouterError> for Problem {
    fn from(error: RouterError) -> Self {
        let whole_seconds = |wait: std::time::Duration| wait.as_secs_f64().ceil().max(1.0) as u32;
        let retry_after = error.retry_after().map(whole_seconds);
        let problem: Self = match error {
            // The token's tenant does not exist, or does not exist any more, so the token is valid
            // for no caller.
            RouterError::Unknown => Code::InvalidToken.into(),
            RouterError::Suspended => Code::TenantSuspended.into(),
            RouterError::Deleted => Code::TenantDeleted.into(),
            RouterError::Provisioning => Code::TenantProvisioning.into(),
            RouterError::Failed => Code::TenantFailed.into(),
            RouterError::SchemaOutdated => Code::TenantSchemaOutdated.into(),
            RouterError::Saturated => Code::RouterSaturated.into(),
            RouterError::PoolBusy => Code::PoolBusy.into(),
            RouterError::Unavailable(failure) => {
                // A backoff was logged when it began.
                let level = match failure {
                    ConnectFailure::BackingOff { .. } => Level::DEBUG,
                    _ => Level::WARN,
                };
                let what = "a tenant's database is not available";
                Self::from(Code::TenantDatabaseUnavailable).because(level, what, &failure)
            }
            RouterError::Registry(error) => error.into(),
        };
        Self { retry_after, ..problem }
    }
}

impl From<sea_orm::DbErr> for Problem {
    fn from(error: sea_orm::DbErr) -> Self {
        if failure::is_unavailable(&error) {
            let what = "a tenant's database failed in a statement";
            return Self::from(Code::TenantDatabaseUnavailable).because(Level::WARN, what, &error);
        }
        internal(&error)
    }
}

impl From<NoComputePermit> for Problem {
    fn from(error: NoComputePermit) -> Self {
        match error {
            NoComputePermit::Busy => Code::Busy.into(),
            NoComputePermit::Died(_) => internal(&error),
        }
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Code::Busy.into(),
            PasswordError::TooCommon => Self::validation(vec![FieldError {
                field: "password".to_owned(),
                code: "too_common",
                message: "is one of the first that anybody would try".to_owned(),
            }]),
            PasswordError::Broken(_) => internal(&error),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Token(error) => error.into(),
            AccessError::TenantMismatch => Code::TenantMismatch.into(),
            AccessError::NotStaff => Self::with_detail(
                Code::Forbidden,
                "This is for members of staff, about their own account.",
            ),
            AccessError::NotPermitted(permission) => {
                Self::with_detail(Code::Forbidden, format!("You are not permitted `{permission}`."))
            }
            AccessError::MustEnroll => Code::MfaEnrollmentRequired.into(),
            AccessError::StepUpRequired => Code::StepUpRequired.into(),
            AccessError::Router(error) => error.into(),
            AccessError::Database(error) => error.into(),
        }
    }
}

impl From<CredentialError> for Problem {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::InvalidCredentials => Code::InvalidCredentials.into(),
            CredentialError::MfaRequired => Code::MfaRequired.into(),
            CredentialError::NoSecondFactor => no_second_factor(),
            CredentialError::ManagedByIdentityProvider => Self::with_detail(
                Code::Conflict,
                "Password and second factor of this account are kept by your identity provider.",
            ),
            CredentialError::TooManyAttempts(state) => limits::refused("login", state),
            CredentialError::Password(error) => error.into(),
            CredentialError::Access(error) => error.into(),
        }
    }
}

fn no_second_factor() -> Problem {
    Problem::with_detail(Code::Conflict, "There is no second factor. Enroll first.")
}

fn no_email() -> Problem {
    let detail = "This installation sends no letters: `smtp.url` is not set.";
    Problem::with_detail(Code::Conflict, detail)
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::SelectTenant(choices) => Self {
                choices: choices
                    .into_iter()
                    .map(|c| Choice { slug: c.slug, organization_name: c.organization_name })
                    .collect(),
                ..Self::from(Code::TenantSelectionRequired)
            },
            LoginError::Credentials(error) => error.into(),
            LoginError::Access(error) => error.into(),
        }
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::InvalidRefreshToken => Code::InvalidToken.into(),
            SessionError::NotFound => Code::NotFound.into(),
            SessionError::Access(error) => error.into(),
        }
    }
}

impl From<RedeemError> for Problem {
    fn from(error: RedeemError) -> Self {
        match error {
            RedeemError::InvalidToken => Self::with_detail(
                Code::InvalidToken,
                "The token is unknown, used up or too old. Ask for a new letter.",
            ),
            RedeemError::Password(error) => error.into(),
            RedeemError::Credentials(error) => error.into(),
            RedeemError::Staff(error) => error.into(),
            RedeemError::Access(error) => error.into(),
        }
    }
}

impl From<EmailError> for Problem {
    fn from(error: EmailError) -> Self {
        match error {
            EmailError::SameAddress => {
                Self::with_detail(Code::Conflict, "This is your address already.")
            }
            EmailError::NotConfigured => no_email(),
            EmailError::TooMany(state) => limits::refused("letters", state),
            EmailError::Credentials(error) => error.into(),
            EmailError::Access(error) => error.into(),
        }
    }
}

impl From<MfaError> for Problem {
    fn from(error: MfaError) -> Self {
        match error {
            MfaError::AlreadyEnabled => Self::with_detail(
                Code::Conflict,
                "There is a second factor already. Take it off before another is set up.",
            ),
            MfaError::Credentials(error) => error.into(),
            MfaError::Access(error) => error.into(),
        }
    }
}

impl From<InvitationError> for Problem {
    fn from(error: InvitationError) -> Self {
        match error {
            InvitationError::EmailNotConfigured => no_email(),
            InvitationError::TooManyEmails(state) => limits::refused("letters", state),
            InvitationError::TooManyInvitations(state) => limits::refused("invitations", state),
            InvitationError::Staff(error) => error.into(),
            InvitationError::Access(error) => error.into(),
        }
    }
}

impl From<StaffAdministrationError> for Problem {
    fn from(error: StaffAdministrationError) -> Self {
        match error {
            StaffAdministrationError::OwnSecondFactor => Self::with_detail(
                Code::Conflict,
                "Your own second factor you take off yourself, with password and code.",
            ),
            StaffAdministrationError::NoSecondFactor => no_second_factor(),
            StaffAdministrationError::Staff(error) => error.into(),
            StaffAdministrationError::Access(error) => error.into(),
        }
    }
}

impl From<ApiKeyError> for Problem {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::PrivilegeEscalation(permission) => Self::with_detail(
                Code::Forbidden,
                format!("You are not permitted `{permission}`, and cannot give it to a key."),
            ),
            ApiKeyError::Access(error) => error.into(),
        }
    }
}

impl From<ImpersonationError> for Problem {
    fn from(error: ImpersonationError) -> Self {
        match error {
            ImpersonationError::AdminRequired => {
                Self::with_detail(Code::Forbidden, "Only admins may change anything in a tenant.")
            }
            ImpersonationError::Access(error) => error.into(),
        }
    }
}

impl From<DirectoryError> for Problem {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::EmailTaken(_) => {
                Self::with_detail(Code::EmailTaken, "Another operator has this address.")
            }
            DirectoryError::NotChanged(NotChanged::Unknown) => Code::NotFound.into(),
            DirectoryError::NotChanged(NotChanged::LastAdmin) => Self::with_detail(
                Code::Conflict,
                "This is the last active admin, and stays one. Make another operator an admin first.",
            ),
            DirectoryError::Password(error) => error.into(),
            DirectoryError::Access(error) => error.into(),
        }
    }
}

impl From<OwnTenantError> for Problem {
    fn from(error: OwnTenantError) -> Self {
        match error {
            OwnTenantError::Conflict => Code::Conflict.into(),
            OwnTenantError::Credentials(error) => error.into(),
            OwnTenantError::Access(error) => error.into(),
        }
    }
}

impl From<StaffError> for Problem {
    fn from(error: StaffError) -> Self {
        let conflict = |detail: &str| Self::with_detail(Code::Conflict, detail);
        match error {
            StaffError::NotFound => Code::NotFound.into(),
            StaffError::EmailTaken => conflict("Somebody on the staff has this email address."),
            StaffError::UnknownRole => Self::invalid("role", "there is no such role"),
            StaffError::LastOwner => conflict(
                "This is the last owner. Make somebody else an owner first, or close the organization.",
            ),
            StaffError::PrivilegeEscalation => Self::with_detail(
                Code::Forbidden,
                "The role permits more than you may. Only who has a permission can give it or take it away.",
            ),
            StaffError::ManagedByIdentityProvider => {
                conflict("Your identity provider says who is on the staff, and in which role.")
            }
            StaffError::StepUpRequired => Code::StepUpRequired.into(),
            StaffError::NotVerified => Code::EmailNotVerified.into(),
            StaffError::Joined => conflict("They have joined already."),
            StaffError::Database(error) => error.into(),
        }
    }
}

impl From<RoleError> for Problem {
    fn from(error: RoleError) -> Self {
        let conflict = |detail: &str| Self::with_detail(Code::Conflict, detail);
        match error {
            RoleError::NotFound => Code::NotFound.into(),
            RoleError::StepUpRequired => Code::StepUpRequired.into(),
            RoleError::NameTaken => conflict("Another role has this name."),
            RoleError::InUse => conflict("Somebody has this role. Give them another one first."),
            RoleError::BuiltIn => {
                conflict("The names of built-in roles stay, and so does what the owner may.")
            }
            RoleError::PrivilegeEscalation => Self::with_detail(
                Code::Forbidden,
                "The role permits more than you may. Only who has a permission can give it or take it away.",
            ),
            RoleError::Database(error) => error.into(),
        }
    }
}

impl From<StartRunError> for Problem {
    fn from(error: StartRunError) -> Self {
        match error {
            StartRunError::Busy => Code::Busy.into(),
            StartRunError::KeyTaken => Code::IdempotencyInProgress.into(),
            StartRunError::Registry(error) => error.into(),
        }
    }
}

impl From<RunFailure> for Problem {
    fn from(failure: RunFailure) -> Self {
        match failure {
            RunFailure::Refused(Refusal::EmailTaken) => Code::EmailTaken.into(),
            RunFailure::Refused(Refusal::SlugTaken) => Code::SlugTaken.into(),
            RunFailure::Refused(Refusal::Cancelled) => Self::with_detail(
                Code::Conflict,
                "The registration was cancelled by the operators of this service.",
            ),
            RunFailure::Broken { .. } | RunFailure::Unfinished(_) => {
                let what = "a registration failed and was undone";
                Self::with_detail(
                    Code::Busy,
                    "The organization could not be created just now, and nothing of it is left. Please try again.",
                )
                .because(Level::ERROR, what, &failure)
            }
        }
    }
}

impl From<MemberError> for Problem {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::NotFound => Code::NotFound.into(),
            MemberError::PhoneNumberTaken => {
                Self::with_detail(Code::Conflict, "Another member has this phone number.")
            }
            MemberError::UnknownBranch => Self::invalid("branch_id", "there is no such branch"),
            MemberError::Database(error) => error.into(),
        }
    }
}

impl From<BranchError> for Problem {
    fn from(error: BranchError) -> Self {
        match error {
            BranchError::NotFound => Code::NotFound.into(),
            BranchError::NameTaken => {
                Self::with_detail(Code::Conflict, "Another branch has this name.")
            }
            BranchError::HasMembers => Self::with_detail(
                Code::Conflict,
                "Members belong to this branch. Move them to another one first.",
            ),
            BranchError::Database(error) => error.into(),
        }
    }
}

fn refused_webhook(level: Level, reason: &dyn std::fmt::Display) -> Problem {
    Problem::from(Code::InvalidSignature).because(level, "a webhook was refused", reason)
}

fn malformed_event(reason: &dyn std::fmt::Display) -> Problem {
    let what = "a signed webhook is no event";
    Problem::from(Code::MalformedEvent).because(Level::WARN, what, reason)
}

fn event_not_stored(reason: &dyn std::fmt::Display) -> Problem {
    let what = "an event could not be stored and is left to the sender";
    Problem::from(Code::NotStored).because(Level::ERROR, what, reason)
}

impl From<ClerkError> for Problem {
    fn from(error: ClerkError) -> Self {
        match error {
            ClerkError::NotConfigured => {
                refused_webhook(Level::WARN, &"clerk.webhook_secret is not set")
            }
            ClerkError::Signature(reason) => refused_webhook(Level::INFO, &reason.reason()),
            ClerkError::Malformed(reason) => {
                malformed_event(&format_args!("{}: {reason}", reason.reason()))
            }
            ClerkError::NotStored(reason) => event_not_stored(&reason),
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::NotConfigured => {
                refused_webhook(Level::WARN, &"telnyx.public_key is not set")
            }
            WebhookError::Signature(reason) => refused_webhook(Level::INFO, &reason.reason()),
            WebhookError::Malformed(reason) => {
                malformed_event(&format_args!("{}: {reason}", reason.reason()))
            }
            WebhookError::NotStored(reason) => event_not_stored(&reason),
        }
    }
}
