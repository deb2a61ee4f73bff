//! The one place where failures become answers: stable codes, RFC 9457 problem documents, nothing internal.

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::Level;
use utoipa::ToSchema;

use super::code::Code;
use super::limits;
use crate::authentication::{AuthenticationError, TokenError};
use crate::messaging::branches::BranchError;
use crate::messaging::members::MemberError;
use crate::passwords::PasswordError;
use crate::postgres::{ConnectFailure, failure};
use crate::provisioning::{NotStarted, Refusal, RunFailure};
use crate::registry::RegistryError;
use crate::tenant_data::roles::RoleError;
use crate::tenant_data::staffing::StaffError;
use crate::tenant_router::RouterError;
use crate::webhooks::clerk::ClerkError;
use crate::webhooks::telnyx::WebhookError;

/// Seconds after which a client may try again what was refused for a passing reason.
pub(super) const RETRY_AFTER_SECONDS: u32 = 2;

/// What is wrong with one field or parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldFault {
    /// Path of the field.
    pub field: String,
    /// Stable: `required`, `unknown_field`, `invalid_type`, `invalid`, `too_long`, `too_short`, `too_common`, `nul_character`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl FieldFault {
    /// It is missing.
    pub fn required(field: &str) -> Self {
        Self { field: field.to_owned(), code: "required", message: "is required".to_owned() }
    }
}

/// A tenant that the credentials are good for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Choice {
    /// What to send as `tenant`.
    pub slug: String,
    /// For people.
    pub organization_name: String,
}

/// A failure on its way to the client. Rendered by the outermost layer, which knows the request's id.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: Option<String>,
    errors: Vec<FieldFault>,
    choices: Vec<Choice>,
    /// Seconds; with 429, and with 503 where another time than the usual is known.
    retry_after: Option<u32>,
    cause: Option<Box<Cause>>,
}

/// What the client is not told. Logged once, by the outermost layer, which knows the request's id.
#[derive(Clone, Debug)]
struct Cause {
    level: Level,
    what: &'static str,
    error: String,
}

/// The document that clients see (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct ProblemDocument {
    /// `/problems/<code>`, a page that explains the code.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    /// Stable.
    code: &'static str,
    /// Names the request in our logs.
    request_id: String,
    /// With `validation_failed`: all faults at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldFault>,
    /// With `tenant_selection_required`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    choices: Vec<Choice>,
}

impl Problem {
    /// With a detail that says what this very request did wrong.
    pub fn with_detail(code: Code, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::from(code) }
    }

    /// To be tried again after so many seconds.
    pub fn with_retry_after(code: Code, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::from(code) }
    }

    /// Fields or parameters are wrong.
    pub fn validation(errors: Vec<FieldFault>) -> Self {
        Self { errors, ..Self::from(Code::ValidationFailed) }
    }

    /// One field is wrong, which shows only against what there is.
    pub(super) fn invalid(field: &str, message: &str) -> Self {
        let (field, message) = (field.to_owned(), message.to_owned());
        Self::validation(vec![FieldFault { field, code: "invalid", message }])
    }

    /// What it is called.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// With a cause for the log.
    fn because(self, level: Level, what: &'static str, error: &dyn std::fmt::Display) -> Self {
        let cause = Cause { level, what, error: error.to_string() };
        Self { cause: Some(Box::new(cause)), ..self }
    }

    /// Writes the cause to the log, if there is one.
    pub(super) fn log(&self, request_id: &str, method: &Method, route: &str) {
        let Some(cause) = &self.cause else { return };
        let Cause { level, what, error } = &**cause;
        let code = self.code.as_str();
        // The macro wants its level at compile time.
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(id = request_id, %method, route, code, error, "{what}")
            };
        }
        match *level {
            Level::ERROR => log!(error),
            Level::WARN => log!(warn),
            Level::INFO => log!(info),
            _ => log!(debug),
        }
    }

    /// The answer, under this request id.
    pub(super) fn render(self, request_id: &str) -> Response {
        let status = self.code.status();
        let document = ProblemDocument {
            kind: format!("/problems/{}", self.code.as_str()),
            title: self.code.title(),
            status: status.as_u16(),
            detail: self.detail.unwrap_or_else(|| self.code.meaning().to_owned()),
            code: self.code.as_str(),
            request_id: request_id.to_owned(),
            errors: self.errors,
            choices: self.choices,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(
                    header::RETRY_AFTER,
                    HeaderValue::from(self.retry_after.unwrap_or(RETRY_AFTER_SECONDS)),
                );
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self {
            code,
            detail: None,
            errors: Vec::new(),
            choices: Vec::new(),
            retry_after: None,
            cause: None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

fn internal(error: &dyn std::fmt::Display) -> Problem {
    Problem::from(Code::Internal).because(Level::ERROR, "an unexpected failure", error)
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid => Code::InvalidToken.into(),
            TokenError::Expired => Code::TokenExpired.into(),
            TokenError::Revoked => Code::TokenRevoked.into(),
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
            // The token is of a tenant that does not exist (any more): it speaks for nobody.
            RouterError::Unknown => Code::InvalidToken.into(),
            RouterError::Suspended => Code::TenantSuspended.into(),
            RouterError::Deleted => Code::TenantDeleted.into(),
            RouterError::Provisioning => Code::TenantProvisioning.into(),
            RouterError::Failed => Code::TenantFailed.into(),
            RouterError::SchemaOutdated => Code::TenantSchemaOutdated.into(),
            RouterError::Saturated => Code::RouterSaturated.into(),
            RouterError::PoolBusy => Code::PoolBusy.into(),
            RouterError::Unavailable(failure) => {
                // A back-off has been said when it began.
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

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Code::Busy.into(),
            PasswordError::Broken(_) => internal(&error),
        }
    }
}

impl From<AuthenticationError> for Problem {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::InvalidCredentials => Code::InvalidCredentials.into(),
            AuthenticationError::MfaRequired => Code::MfaRequired.into(),
            AuthenticationError::SecondFactorThere => Self::with_detail(
                Code::Conflict,
                "There is a second factor already. Take it off before another is set up.",
            ),
            AuthenticationError::NoSecondFactor => {
                Self::with_detail(Code::Conflict, "There is no second factor. Enroll first.")
            }
            AuthenticationError::KeptElsewhere => Self::with_detail(
                Code::Conflict,
                "Password and second factor of this account are kept by your identity provider.",
            ),
            AuthenticationError::InvalidRefreshToken => Code::InvalidToken.into(),
            AuthenticationError::InvalidOneTimeToken => Self::with_detail(
                Code::InvalidToken,
                "The token is unknown, used up or too old. Ask for a new letter.",
            ),
            AuthenticationError::Conflict(what) => Self::with_detail(Code::Conflict, what),
            AuthenticationError::SelectTenant(choices) => Self {
                choices: choices
                    .into_iter()
                    .map(|c| Choice { slug: c.slug, organization_name: c.organization_name })
                    .collect(),
                ..Self::from(Code::TenantSelectionRequired)
            },
            AuthenticationError::TooManyAttempts(standing) => limits::refused("login", standing),
            AuthenticationError::TooManyLetters(standing) => limits::refused("letters", standing),
            AuthenticationError::NotRaised => {
                Self::with_detail(Code::Forbidden, "Only admins may change anything in a tenant.")
            }
            AuthenticationError::BeyondMaker(permission) => Self::with_detail(
                Code::Forbidden,
                format!("You are not permitted `{permission}`, and cannot give it to a key."),
            ),
            AuthenticationError::TooManyInvitations(standing) => {
                limits::refused("invitations", standing)
            }
            AuthenticationError::NoMail => Self::with_detail(
                Code::Conflict,
                "This installation sends no letters: `smtp.url` is not set.",
            ),
            AuthenticationError::Staff(error) => error.into(),
            AuthenticationError::TenantMismatch => Code::TenantMismatch.into(),
            AuthenticationError::Password(error) => error.into(),
            AuthenticationError::Router(error) => error.into(),
            AuthenticationError::Database(error) => error.into(),
            AuthenticationError::Token(error) => error.into(),
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
            StaffError::BeyondGiver => Self::with_detail(
                Code::Forbidden,
                "The role permits more than you may. Only who has a permission can give it or take it away.",
            ),
            StaffError::KeptElsewhere => {
                conflict("Your identity provider says who is on the staff, and in which role.")
            }
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
            RoleError::NameTaken => conflict("Another role has this name."),
            RoleError::InUse => conflict("Somebody has this role. Give them another one first."),
            RoleError::BuiltIn => {
                conflict("The names of built-in roles stay, and so does what the owner may.")
            }
            RoleError::BeyondGiver => Self::with_detail(
                Code::Forbidden,
                "The role permits more than you may. Only who has a permission can give it or take it away.",
            ),
            RoleError::Database(error) => error.into(),
        }
    }
}

impl From<NotStarted> for Problem {
    fn from(error: NotStarted) -> Self {
        match error {
            NotStarted::Busy => Code::Busy.into(),
            NotStarted::KeyTaken => Code::IdempotencyInProgress.into(),
            NotStarted::Registry(error) => error.into(),
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
