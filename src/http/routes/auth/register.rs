use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::password::check_new_password;
use super::{SessionDocument, with_tokens};
use crate::access::Client;
use crate::accounts::SignedIn;
use crate::http::extract::{
    CalledBy, Checked, Cookies, FieldErrors, JsonBody, Limited, Registering, idempotency_key,
};
use crate::http::problem::Problem;
use crate::http::responses::OpenProblems;
use crate::http::routes::registrations::RegistrationDocument;
use crate::http::{Code, Gateway};
use crate::identifiers::{EmailAddress, RunId, Slug, Timezone};
use crate::passwords;
use crate::provisioning::{
    CreatedTenant, Idempotency, NewOwner, NewTenant, RunFailure, StartRunError, WantedSlug,
    failure_of,
};
use crate::registry::runs::provisioning_runs::RunStatus;
use crate::registry::runs::registrations::Registration;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RegisterRequest {
    /// 1 to 120 characters.
    #[schema(required = true, example = "First Baptist Church")]
    organization_name: String,
    #[schema(required = true, example = "pastor@example.org")]
    email: String,
    /// 10 to 128 characters. White space is part of the password.
    #[schema(required = true)]
    password: String,
    #[schema(required = true)]
    first_name: String,
    #[schema(required = true)]
    last_name: String,
    /// IANA name; UTC where absent.
    #[schema(example = "America/Chicago")]
    timezone: Option<String>,
    /// 3 to 40 of `[a-z0-9-]`; derived from the organization's name where absent.
    slug: Option<String>,
}

/// The checked request; the password is not hashed yet.
#[derive(Clone)]
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

    fn check(self, errors: &mut FieldErrors) -> Option<CheckedRegistration> {
        let organization_name = errors.name("organization_name", &self.organization_name, 1..=120);
        let email = errors.required("email", &self.email);
        let password = check_new_password(errors, "password", self.password);
        let first_name = errors.name("first_name", &self.first_name, 1..=80);
        let last_name = errors.name("last_name", &self.last_name, 1..=80);
        let timezone = errors.optional("timezone", self.timezone.as_deref());
        let slug = errors.optional("slug", self.slug.as_deref());
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

impl CheckedRegistration {
    /// The fields in which a repeated request must agree with the first.
    fn fingerprint(&self) -> String {
        let slug = self.slug.as_ref().map(Slug::as_str);
        serde_json::json!([
            self.organization_name,
            self.email.as_str(),
            passwords::fingerprint(&self.password),
            self.first_name,
            self.last_name,
            self.timezone.as_str(),
            slug,
        ])
        .to_string()
    }

    /// What an attacker who guesses passwords knows of the owner.
    fn about(&self) -> Vec<String> {
        let email = self.email.as_str().to_owned();
        vec![self.organization_name.clone(), email, self.first_name.clone(), self.last_name.clone()]
    }

    fn tenant(&self, password_hash: String, unproven: bool) -> NewTenant {
        let owner = NewOwner {
            email: self.email.clone(),
            password_hash,
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
        };
        NewTenant {
            organization_name: self.organization_name.clone(),
            slug: self.slug.clone().map_or(WantedSlug::Derived, WantedSlug::Exactly),
            timezone: self.timezone.clone(),
            plan: None,
            unproven,
            owner: Some(owner),
        }
    }
}

/// A completed registration, and the owner's session.
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

/// Registers an organization: creates its own database and signs its owner in.
///
/// Answers 201 when the organization is ready within some seconds, else 202; with
/// `Prefer: respond-async` 202 at once. The work goes on even if the client disconnects. With an
/// `Idempotency-Key` (1 to 255 visible ASCII characters, kept for 24 h) a repeated request gets the
/// first registration again, with a new session. The host does not matter: the host of another
/// organization creates a new one too.
#[utoipa::path(
    post,
    path = "/v1/auth/register",
    tag = "Registration and sessions",
    request_body = RegisterRequest,
    params(
        ("idempotency-key" = Option<String>, Header, description = "Chosen by the client; the same for every repetition of one registration."),
        ("prefer" = Option<String>, Header, description = "`respond-async`: do not wait."),
    ),
    responses(
        (status = 201, description = "The organization is ready, its owner signed in.", body = RegisteredDocument),
        (status = 202, description = "The organization is being made; see Location.", body = AcceptedDocument),
        OpenProblems,
    ),
)]
pub(crate) async fn register(
    State(gateway): State<Gateway>,
    _: Limited<Registering>,
    headers: HeaderMap,
    CalledBy(client): CalledBy,
    cookies: Cookies,
    JsonBody(request): JsonBody<RegisterRequest>,
) -> Result<Response, Problem> {
    let (key, by) = (idempotency_key(&headers)?, (&client, cookies));
    let seen = key.as_ref().map(|key| gateway.provisioner.idempotency(key, &request.fingerprint()));
    if let Some(seen) = &seen
        && let Some(first) = gateway.provisioner.find_registration(seen).await?
        && let Some(answer) = again(&gateway, first, seen, &request, by).await?
    {
        return Ok(answer);
    }
    let passwords = gateway.accounts.hasher();
    let password_hash = passwords.hash_new(request.password.clone(), request.about()).await?;
    // Where no email is sent, no owner can prove an address.
    let unproven = gateway.accounts.sends_email();
    let new = request.tenant(password_hash, unproven);
    let started = gateway.provisioner.start(&new, seen.as_ref()).await;
    let started = match (started, &seen) {
        // Another request with the same key was faster.
        (Err(StartRunError::KeyTaken), Some(seen)) => {
            let first = gateway.provisioner.find_registration(seen).await?;
            let first = first.ok_or(Code::IdempotencyInProgress)?;
            let answer = again(&gateway, first, seen, &request, by).await?;
            return Ok(answer.ok_or(Code::IdempotencyInProgress)?);
        }
        (started, _) => started?,
    };
    let id = started.planned.run_id;
    let wait = if prefers_async(&headers) { Duration::ZERO } else { gateway.registration_wait };
    match tokio::time::timeout(wait, started.outcome()).await {
        Ok(Ok(CreatedTenant { tenant_id, owner_id })) => {
            let owner = owner_id.ok_or(Code::Internal)?;
            let session =
                gateway.accounts.sign_in.sign_in_owner(tenant_id, owner, None, &client).await?;
            registered(&gateway, id, session, cookies).await
        }
        Ok(Err(failure @ (RunFailure::Refused(_) | RunFailure::Broken { .. }))) => {
            Err(failure.into())
        }
        // The run goes on. The client follows it at `/v1/registrations/<id>`.
        Ok(Err(RunFailure::Unfinished(_))) | Err(_) => {
            let document = AcceptedDocument { registration: progress(&gateway, id).await? };
            Ok((StatusCode::ACCEPTED, location(id), Json(document)).into_response())
        }
    }
}

/// The answer to a repeated request: the same registration, tenant and user, and a new session if
/// the request has the owner's current password. `None`: the first registration failed without a
/// fault of the client and nothing is left of it, so this request may begin again.
async fn again(
    gateway: &Gateway,
    first: Registration,
    seen: &Idempotency,
    request: &CheckedRegistration,
    (client, cookies): (&Client, Cookies),
) -> Result<Option<Response>, Problem> {
    if first.request_hash != seen.request_hash {
        return Err(Code::IdempotencyKeyReused.into());
    }
    let found = gateway.provisioner.progress(first.run_id).await?;
    let (run, steps) = found.ok_or(Code::IdempotencyInProgress)?;
    match run.status {
        RunStatus::Completed => {
            let tenant = run.tenant_id;
            let password = Some(request.password.clone());
            let sign_in = &gateway.accounts.sign_in;
            let session = sign_in.sign_in_owner(tenant, first.owner_id, password, client).await?;
            registered(gateway, run.id, session, cookies).await.map(Some)
        }
        RunStatus::Failed => match failure_of(&run, &steps) {
            RunFailure::Refused(refusal) => Err(RunFailure::Refused(refusal).into()),
            RunFailure::Broken { .. } | RunFailure::Unfinished(_) => {
                gateway.provisioner.free_key(seen, &first).await?;
                Ok(None)
            }
        },
        RunStatus::Pending | RunStatus::Running | RunStatus::Compensating => {
            Err(Code::IdempotencyInProgress.into())
        }
    }
}

async fn registered(
    gateway: &Gateway,
    id: RunId,
    session: SignedIn,
    cookies: Cookies,
) -> Result<Response, Problem> {
    let registration = progress(gateway, id).await?;
    let answer =
        with_tokens(cookies, session, |session| RegisteredDocument { registration, session });
    Ok((StatusCode::CREATED, location(id), answer).into_response())
}

fn location(id: RunId) -> [(header::HeaderName, String); 1] {
    [(header::LOCATION, format!("/v1/registrations/{id}"))]
}

async fn progress(gateway: &Gateway, id: RunId) -> Result<RegistrationDocument, Problem> {
    let progress = gateway.provisioner.progress(id).await?;
    progress.map(RegistrationDocument::from).ok_or(Code::NotFound.into())
}

/// RFC 7240. Other preferences are ignored, whatever bytes they consist of.
fn prefers_async(headers: &HeaderMap) -> bool {
    let lines = headers.get_all("prefer").iter();
    let mut preferences = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    preferences.any(|preference| {
        let name = preference.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"respond-async")
    })
}
