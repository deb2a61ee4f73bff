use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderName, LOCATION};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiKeyDocument;
use crate::access::Caller;
use crate::accounts::WantedKey;
use crate::http::Gateway;
use crate::http::extract::permission::TenantManage;
use crate::http::extract::{Authorized, Checked, FieldErrors, JsonBody};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::http::routes::roles::check_permissions;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CreateApiKey {
    /// The name of the program that has the key, for people.
    #[schema(required = true)]
    name: String,
    /// At least one, from the permissions that the caller has.
    #[schema(required = true)]
    permissions: Vec<String>,
    /// When the key stops working. Where absent, it never expires.
    expires_at: Option<DateTime<Utc>>,
}

impl Checked for CreateApiKey {
    type Output = WantedKey;

    fn check(self, errors: &mut FieldErrors) -> Option<WantedKey> {
        let name = errors.name("name", &self.name, 1..=120);
        if self.permissions.is_empty() {
            errors.add("permissions", "required", "is required");
        }
        let permissions = check_permissions(errors, &self.permissions);
        // PostgreSQL cannot store later years.
        let is_kept = |at: &DateTime<Utc>| (1970..=9999).contains(&chrono::Datelike::year(at));
        if self.expires_at.is_some_and(|at| !is_kept(&at)) {
            errors.add("expires_at", "invalid", "must lie between the years 1970 and 9999");
        }
        Some(WantedKey { name: name?, permissions: permissions?, expires_at: self.expires_at })
    }
}

/// A new key. The secret is shown only this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewApiKeyDocument {
    #[serde(flatten)]
    key: ApiKeyDocument,
    /// To be sent as `Authorization: Bearer`.
    secret: String,
}

/// Creates a key for a program. The key works for the calls that its permissions allow, and for no
/// account.
///
/// A key with `staff:manage` or `tenant:manage` asks for a step-up (`step_up_required`).
#[utoipa::path(
    post,
    path = "/v1/api-keys",
    tag = "API keys",
    request_body = CreateApiKey,
    responses((status = 201, description = "The key, with its secret.", body = NewApiKeyDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn create_api_key(
    State(gateway): State<Gateway>,
    access: Authorized<TenantManage>,
    JsonBody(wanted): JsonBody<CreateApiKey>,
) -> Result<(StatusCode, [(HeaderName, &'static str); 2], Json<NewApiKeyDocument>), Problem> {
    if wanted.expires_at.is_some_and(|end| end <= gateway.clock.now()) {
        return Err(Problem::invalid("expires_at", "must lie in the future"));
    }
    let tenant = access.caller.tenant();
    let staff = match &access.caller {
        Caller::Staff(claims) => Some(claims.sub),
        Caller::Service(_) | Caller::Operator(_) => None,
    };
    let made = access.change(async |db, rights| {
        gateway.accounts.api_keys.make(db, tenant, wanted, (rights, staff)).await
    });
    let made = made.await?;
    let (key, secret) = made;
    let headers = [(LOCATION, "/v1/api-keys"), (CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(NewApiKeyDocument { key: key.into(), secret })))
}
