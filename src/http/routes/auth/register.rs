use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::SessionDocument;
use crate::http::Gateway;
use crate::http::extract::{Checked, Faults, JsonBody};
use crate::http::openapi::OpenProblems;
use crate::http::problem::Problem;
use crate::http::routes::registrations::RegistrationDocument;
use crate::identifiers::{EmailAddress, Slug, Timezone};
use crate::provisioning::NewRegistration;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RegisterRequest {
    /// 1 to 120 characters.
    #[schema(required = true, example = "First Baptist Church")]
    organization_name: String,
    #[schema(required = true, example = "pastor@example.org")]
    email: String,
    /// 10 to 128 characters.
    #[schema(required = true)]
    password: String,
    #[schema(required = true)]
    first_name: String,
    #[schema(required = true)]
    last_name: String,
    /// IANA name; UTC where absent.
    #[schema(example = "America/Chicago")]
    timezone: Option<String>,
    /// 3 to 40 of `[a-z0-9-]`; derived from the name where absent.
    slug: Option<String>,
}

/// What was asked for, with the password still in clear.
pub(crate) struct CheckedRegistration {
    organization_name: String,
    email: EmailAddress,
    password: SecretString,
    first_name: String,
    last_name: String,
    timezone: Timezone,
    slug: Option<Slug>,
}

impl Checked for RegisterRequest {
    type Output = CheckedRegistration;

    fn check(self, faults: &mut Faults) -> Option<CheckedRegistration> {
        let organization_name = faults.text("organization_name", &self.organization_name, 1..=120);
        let email = faults.required("email", &self.email);
        let password = check_password(faults, self.password);
        let first_name = faults.text("first_name", &self.first_name, 1..=80);
        let last_name = faults.text("last_name", &self.last_name, 1..=80);
        let timezone = faults.optional("timezone", self.timezone.as_deref());
        let slug = faults.optional("slug", self.slug.as_deref());
        Some(CheckedRegistration {
            organization_name: organization_name?,
            email: email?,
            password: password?,
            first_name: first_name?,
            last_name: last_name?,
            timezone: timezone?.unwrap_or(Timezone::UTC),
            slug: slug?,
        })
    }
}

/// Taken as it is, white space included.
fn check_password(faults: &mut Faults, password: String) -> Option<SecretString> {
    match password.chars().count() {
        0 => faults.add("password", "required", "is required"),
        1..=9 => faults.add("password", "too_short", "must have at least 10 characters"),
        10..=128 => return Some(SecretString::from(password)),
        _ => faults.add("password", "too_long", "must have at most 128 characters"),
    }
    None
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RegisteredDocument {
    registration: RegistrationDocument,
    #[serde(flatten)]
    session: SessionDocument,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct AcceptedDocument {
    registration: RegistrationDocument,
}

/// Registers an organization: makes its own database and signs its owner in.
///
/// Answers 201 when it is ready within some seconds, else 202; with `Prefer: respond-async` 202 at once. The work
/// goes on even if the client goes away. The host does not matter: at that of another organization, too, a new one is
/// made.
#[utoipa::path(
    post,
    path = "/v1/auth/register",
    tag = "Registration and sessions",
    request_body = RegisterRequest,
    responses(
        (status = 201, description = "The organization is ready, its owner signed in.", body = RegisteredDocument),
        (status = 202, description = "The organization is being made; see Location.", body = AcceptedDocument),
        OpenProblems,
    ),
)]
pub(crate) async fn register(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<RegisterRequest>,
) -> Result<Response, Problem> {
    let password_hash = gateway.authentication.passwords().hash(request.password).await?;
    let started = gateway
        .provisioner
        .start(NewRegistration {
            organization_name: request.organization_name,
            slug: request.slug,
            timezone: request.timezone,
            email: request.email,
            password_hash,
            first_name: request.first_name,
            last_name: request.last_name,
        })
        .await?;
    let wait = if prefers_async(&headers) { Duration::ZERO } else { gateway.registration_wait };
    let id = started.registration_id;
    let location = [(header::LOCATION, format!("/v1/registrations/{id}"))];
    match tokio::time::timeout(wait, started.outcome).await {
        Ok(Ok(created)) => {
            let created = created?;
            let session = gateway
                .authentication
                .sign_in_owner(created.tenant_id, created.owner_id)
                .await?
                .into();
            let registration = progress(&gateway, id).await?;
            let document = RegisteredDocument { registration, session };
            Ok((StatusCode::CREATED, location, Json(document)).into_response())
        }
        // Still running, or its task was lost: the resource tells.
        Ok(Err(_)) | Err(_) => {
            let document = AcceptedDocument { registration: progress(&gateway, id).await? };
            Ok((StatusCode::ACCEPTED, location, Json(document)).into_response())
        }
    }
}

async fn progress(gateway: &Gateway, id: Uuid) -> Result<RegistrationDocument, Problem> {
    let progress = gateway.provisioner.progress(id).await?;
    progress.map(RegistrationDocument::from).ok_or(crate::http::Code::NotFound.into())
}

/// RFC 7240.
fn prefers_async(headers: &HeaderMap) -> bool {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}
