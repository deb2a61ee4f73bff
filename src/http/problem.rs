//! The one place where failures become answers: stable codes, RFC 9457 problem documents, nothing internal.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::authentication::{AuthenticationError, TokenError};
use crate::messaging::branches::BranchError;
use crate::messaging::members::MemberError;
use crate::passwords::PasswordError;
use crate::postgres::failure;
use crate::provisioning::{Refusal, RunFailure};
use crate::registry::RegistryError;
use crate::tenant_router::RouterError;
use crate::webhooks::telnyx::WebhookError;

/// Seconds after which a client may try again what was refused for a passing reason.
pub(super) const RETRY_AFTER_SECONDS: u32 = 2;

macro_rules! codes {
    ($($variant:ident $code:literal $status:ident $title:literal: $meaning:literal;)*) => {
        /// Every code an error can carry. A code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $(#[doc = $meaning] $variant,)* }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code as clients see it.
            pub fn as_str(self) -> &'static str { match self { $(Code::$variant => $code,)* } }
            /// The HTTP status it comes with.
            pub fn status(self) -> StatusCode { match self { $(Code::$variant => StatusCode::$status,)* } }
            /// A short name for people.
            pub fn title(self) -> &'static str { match self { $(Code::$variant => $title,)* } }
            /// What it means and what to do about it.
            pub fn meaning(self) -> &'static str { match self { $(Code::$variant => $meaning,)* } }
        }
    };
}

codes! {
    MalformedBody "malformed_body" BAD_REQUEST "Malformed body": "The request body is not JSON. Send a JSON object in UTF-8.";
    MalformedEvent "malformed_event" BAD_REQUEST "Malformed event": "The signature is good, but the body is not an event of the provider.";
    InvalidToken "invalid_token" UNAUTHORIZED "Invalid token": "The access token is missing, altered or not ours, or the refresh token is no longer good. Sign in again.";
    TokenExpired "token_expired" UNAUTHORIZED "Token expired": "The access token's time is over. Get a new one with the refresh token.";
    TokenRevoked "token_revoked" UNAUTHORIZED "Token revoked": "The session of the access token has been ended. Sign in again.";
    InvalidCredentials "invalid_credentials" UNAUTHORIZED "Invalid credentials": "The email address or the password is wrong.";
    InvalidSignature "invalid_signature" UNAUTHORIZED "Invalid signature": "The webhook's signature is missing, wrong or too old.";
    Forbidden "forbidden" FORBIDDEN "Forbidden": "Your role does not permit this.";
    TenantSuspended "tenant_suspended" FORBIDDEN "Organization suspended": "The organization is suspended. Nothing of it is lost; write to support.";
    TenantDeleted "tenant_deleted" FORBIDDEN "Organization deleted": "The organization has been deleted.";
    TenantMismatch "tenant_mismatch" FORBIDDEN "Organization mismatch": "The request names another organization than its access token.";
    NotFound "not_found" NOT_FOUND "Not found": "There is nothing here, or it is not yours.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "Method not allowed": "This resource does not take this method; the Allow header lists those it takes.";
    EmailTaken "email_taken" CONFLICT "Email taken": "This email address has already registered an organization. Sign in instead.";
    SlugTaken "slug_taken" CONFLICT "Slug taken": "Another organization has this slug. Choose another, or leave it out.";
    Conflict "conflict" CONFLICT "Conflict": "The change collides with something that exists already.";
    TenantSelectionRequired "tenant_selection_required" CONFLICT "Organization to be selected": "The credentials belong to several organizations. Repeat the call with `tenant` set to the slug of one of the choices.";
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE "Body too large": "The request body is larger than is accepted.";
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "Unsupported media type": "Send the body as application/json.";
    ValidationFailed "validation_failed" UNPROCESSABLE_ENTITY "Validation failed": "Some fields or query parameters are missing, unknown or out of range; `errors` lists all of them.";
    Internal "internal_error" INTERNAL_SERVER_ERROR "Internal error": "A fault of ours. It has been recorded under the request id.";
    Busy "busy" SERVICE_UNAVAILABLE "Busy": "Too much is going on at once. Try again after the time in Retry-After.";
    TenantFailed "tenant_failed" SERVICE_UNAVAILABLE "Organization not usable": "The organization could not be created. Write to support.";
    TenantDatabaseUnavailable "tenant_database_unavailable" SERVICE_UNAVAILABLE "Organization's database unavailable": "The organization's database cannot be reached at the moment. Try again after the time in Retry-After.";
    TenantProvisioning "tenant_provisioning" SERVICE_UNAVAILABLE "Organization being created": "The organization is still being created. Try again after the time in Retry-After.";
    TenantSchemaOutdated "tenant_schema_outdated" SERVICE_UNAVAILABLE "Organization being upgraded": "The organization's database is being upgraded. Try again after the time in Retry-After.";
    PoolBusy "pool_busy" SERVICE_UNAVAILABLE "Organization busy": "All of the organization's database connections are in use. Try again after the time in Retry-After.";
    RouterSaturated "router_saturated" SERVICE_UNAVAILABLE "Gateway saturated": "Too many organizations are in use at once. Try again after the time in Retry-After.";
    RegistryUnavailable "registry_unavailable" SERVICE_UNAVAILABLE "Registry unavailable": "The gateway cannot look organizations up at the moment. Try again after the time in Retry-After.";
    NotStored "not_stored" SERVICE_UNAVAILABLE "Event not stored": "The event could be stored nowhere. Send it again.";
    Draining "draining" SERVICE_UNAVAILABLE "Shutting down": "This replica is shutting down. Another one will answer.";
}

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
                tracing::warn!(%reason, "a signed webhook is no event");
                Code::MalformedEvent.into()
            }
            WebhookError::NotStored(reason) => {
                tracing::error!(reason, "an event could not be stored and is left to the sender");
                Code::NotStored.into()
            }
        }
    }
}

fn described(statuses: &[(u16, &str)]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    statuses
        .iter()
        .map(|(status, description)| {
            let schema = Ref::from_schema_name("ProblemDocument");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let response = ResponseBuilder::new()
                .description(*description)
                .content("application/problem+json", content)
                .build();
            (status.to_string(), RefOr::T(response))
        })
        .collect()
}

/// The problems of a call that takes a JSON body or parameters, and needs no token.
pub struct OpenProblems;

impl IntoResponses for OpenProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (400, "`malformed_body`"),
            (401, "`invalid_credentials`, `invalid_token`"),
            (409, "`email_taken`, `slug_taken`, `tenant_selection_required`"),
            (413, "`body_too_large`"),
            (415, "`unsupported_media_type`"),
            (422, "`validation_failed`"),
            (503, "`busy`, `registry_unavailable`, `tenant_database_unavailable`, `draining`"),
        ])
    }
}

/// The problems of a call on a tenant's own resources.
pub struct TenantProblems;

impl IntoResponses for TenantProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (400, "`malformed_body`"),
            (401, "`invalid_token`, `token_expired`, `token_revoked`"),
            (403, "`forbidden`, `tenant_suspended`, `tenant_deleted`, `tenant_mismatch`"),
            (404, "`not_found`"),
            (409, "`conflict`"),
            (413, "`body_too_large`"),
            (415, "`unsupported_media_type`"),
            (422, "`validation_failed`"),
            (
                503,
                "`pool_busy`, `router_saturated`, `tenant_database_unavailable`, `tenant_provisioning`, \
                 `tenant_failed`, `tenant_schema_outdated`, `registry_unavailable`, `busy`, `draining`",
            ),
        ])
    }
}

/// The problems of a webhook.
pub struct WebhookProblems;

impl IntoResponses for WebhookProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (400, "`malformed_event`"),
            (401, "`invalid_signature`"),
            (413, "`body_too_large`"),
            (503, "`not_stored`: send it again"),
        ])
    }
}
