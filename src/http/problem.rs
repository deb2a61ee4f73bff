//! The one place where failures become answers: stable codes, RFC 9457 problem documents, nothing internal.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::code::Code;
use crate::authentication::{AuthenticationError, TokenError};
use crate::messaging::branches::BranchError;
use crate::messaging::members::MemberError;
use crate::passwords::PasswordError;
use crate::postgres::failure;
use crate::provisioning::{NotStarted, Refusal, RunFailure};
use crate::registry::RegistryError;
use crate::tenant_router::RouterError;
use crate::webhooks::telnyx::WebhookError;

/// Seconds after which a client may try again what was refused for a passing reason.
pub(super) const RETRY_AFTER_SECONDS: u32 = 2;

/// What is wrong with one field or parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldFault {
    /// Path of the field.
    pub field: String,
    /// Stable: `required`, `unknown_field`, `invalid_type`, `invalid`, `too_long`, `too_short`, `nul_character`.
    pub code: &'static str,
    /// For people.
    pub message: String,
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

    /// Fields or parameters are wrong.
    pub fn validation(errors: Vec<FieldFault>) -> Self {
        Self { errors, ..Self::from(Code::ValidationFailed) }
    }

    /// What it is called.
    pub(super) fn code(&self) -> Code {
        self.code
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
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
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
        Self { code, detail: None, errors: Vec::new(), choices: Vec::new() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Logged here, once: nobody further up sees the cause.
fn internal(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "an unexpected failure is answered 500");
    Code::Internal.into()
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid => Code::InvalidToken.into(),
            TokenError::Expired => Code::TokenExpired.into(),
            TokenError::Revoked => Code::TokenRevoked.into(),
            TokenError::Unsigned(_) => internal(&error),
        }
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Unavailable(_) | RegistryError::SchemaBehind(_) => {
                tracing::warn!(%error, "the registry could not serve a request");
                Code::RegistryUnavailable.into()
            }
            RegistryError::BadUrl(_)
            | RegistryError::Statement(_)
            | RegistryError::Sealing(_)
            | RegistryError::Administration(_) => internal(&error),
        }
    }
}

impl From<RouterError> for Problem {
    fn from(error: RouterError) -> Self {
        match error {
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
                tracing::warn!(%failure, "a tenant's database is not available");
                Code::TenantDatabaseUnavailable.into()
            }
            RouterError::Registry(error) => error.into(),
        }
    }
}

impl From<sea_orm::DbErr> for Problem {
    fn from(error: sea_orm::DbErr) -> Self {
        if failure::is_unavailable(&error) {
            tracing::warn!(%error, "a tenant's database failed in a statement");
            return Code::TenantDatabaseUnavailable.into();
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
            AuthenticationError::InvalidRefreshToken => Code::InvalidToken.into(),
            AuthenticationError::SelectTenant(choices) => Self {
                choices: choices
                    .into_iter()
                    .map(|c| Choice { slug: c.slug, organization_name: c.organization_name })
                    .collect(),
                ..Self::from(Code::TenantSelectionRequired)
            },
            AuthenticationError::Password(error) => error.into(),
            AuthenticationError::Router(error) => error.into(),
            AuthenticationError::Database(error) => error.into(),
            AuthenticationError::Token(error) => error.into(),
        }
    }
}

impl From<NotStarted> for Problem {
    fn from(error: NotStarted) -> Self {
        match error {
            NotStarted::Busy => Code::Busy.into(),
            NotStarted::Draining => Code::Draining.into(),
            NotStarted::Registry(error) => error.into(),
        }
    }
}

impl From<RunFailure> for Problem {
    fn from(failure: RunFailure) -> Self {
        match failure {
            RunFailure::Refused(Refusal::EmailTaken) => Code::EmailTaken.into(),
            RunFailure::Refused(Refusal::SlugTaken) => Code::SlugTaken.into(),
            RunFailure::Broken { .. } => {
                tracing::error!(%failure, "a registration failed and was undone");
                Self::with_detail(
                    Code::Busy,
                    "The organization could not be created just now, and nothing of it is left. Please try again.",
                )
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
            MemberError::UnknownBranch => Self::validation(vec![FieldFault {
                field: "branch_id".to_owned(),
                code: "invalid",
                message: "there is no such branch".to_owned(),
            }]),
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

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::NotConfigured => {
                tracing::warn!("a webhook was refused because telnyx.public_key is not set");
                Code::InvalidSignature.into()
            }
            WebhookError::Signature(reason) => {
                tracing::info!(reason = reason.reason(), "a webhook was refused");
                Code::InvalidSignature.into()
            }
            WebhookError::Malformed(reason) => {
                tracing::warn!(%reason, kind = reason.reason(), "a signed webhook is no event");
                Code::MalformedEvent.into()
            }
            WebhookError::NotStored(reason) => {
                tracing::error!(reason, "an event could not be stored and is left to the sender");
                Code::NotStored.into()
            }
        }
    }
}
