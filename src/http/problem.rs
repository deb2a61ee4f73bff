//! The one place where failures become answers: stable codes, RFC 9457 problem documents, nothing
//! internal.

mod mapping;

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::Level;
use utoipa::ToSchema;

use super::code::Code;

/// Seconds after which a client may repeat a request that was refused for a temporary reason.
pub(super) const RETRY_AFTER_SECONDS: u32 = 2;

/// An error in one field or parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = FieldFault)]
pub struct FieldError {
    /// Path of the field.
    pub field: String,
    /// Stable: `required`, `unknown_field`, `invalid_type`, `invalid`, `too_long`, `too_short`,
    /// `too_common`, `nul_character`.
    pub code: &'static str,
    /// Explanation for people; not stable.
    pub message: String,
}

impl FieldError {
    /// The error of a missing field.
    pub fn required(field: &str) -> Self {
        Self { field: field.to_owned(), code: "required", message: "is required".to_owned() }
    }
}

/// A tenant that the credentials are valid for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Choice {
    /// The value to send as `tenant`.
    pub slug: String,
    /// The name to show to people.
    pub organization_name: String,
}

/// A failure on its way to the client. The outermost layer renders it, because that layer knows the
/// request's id.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: Option<String>,
    errors: Vec<FieldError>,
    choices: Vec<Choice>,
    /// Seconds. Set with 429, and with 503 if the usual time does not apply.
    retry_after: Option<u32>,
    cause: Option<Box<Cause>>,
}

/// The cause, which the client does not see. The outermost layer logs it once, because that layer
/// knows the request's id.
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
    /// Stable: a code never changes its meaning.
    code: &'static str,
    /// Identifies the request in our logs.
    request_id: String,
    /// With `validation_failed`: all field errors at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// With `tenant_selection_required`: the tenants to choose from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    choices: Vec<Choice>,
}

impl Problem {
    /// With a detail that says what is wrong with this very request.
    pub fn with_detail(code: Code, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::from(code) }
    }

    /// To be repeated after so many seconds.
    pub fn with_retry_after(code: Code, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::from(code) }
    }

    /// `validation_failed` with these field errors.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::from(Code::ValidationFailed) }
    }

    /// One field is wrong, which only the stored data shows.
    pub(super) fn invalid(field: &str, message: &str) -> Self {
        let (field, message) = (field.to_owned(), message.to_owned());
        Self::validation(vec![FieldError { field, code: "invalid", message }])
    }

    /// The same problem for a field that has another name in this request.
    pub(super) fn of_field(mut self, name: &str) -> Self {
        self.errors.iter_mut().for_each(|fault| name.clone_into(&mut fault.field));
        self
    }

    /// The code of the problem.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// Adds a cause for the log.
    fn because(self, level: Level, what: &'static str, error: &dyn std::fmt::Display) -> Self {
        let cause = Cause { level, what, error: error.to_string() };
        Self { cause: Some(Box::new(cause)), ..self }
    }

    /// Logs the cause, if there is one.
    pub(super) fn log(&self, request_id: &str, method: &Method, route: &str) {
        let Some(cause) = &self.cause else { return };
        let Cause { level, what, error } = &**cause;
        let code = self.code.as_str();
        // The macro needs its level at compile time.
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

    /// The answer, with this request id.
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
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
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
