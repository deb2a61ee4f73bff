use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::find;
use crate::access::MAX_IMPERSONATION;
use crate::http::Gateway;
use crate::http::extract::operator_permission::TenantsImpersonate;
use crate::http::extract::{Checked, FieldErrors, Id, JsonBody, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::operators::WantedImpersonation;

/// Minutes, where the request does not say.
const USUAL: i64 = 15;
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ImpersonateRequest {
    /// The reason, 10 to 500 characters. The tenant reads it.
    #[schema(required = true, example = "Ticket 4711: members are missing from a group")]
    reason: String,
    /// True to change data as well. Only for admins.
    may_write: bool,
    /// Duration in minutes, 1 to 60; 15 where absent.
    #[schema(minimum = 1, maximum = 60)]
    minutes: Option<i64>,
}

impl Checked for ImpersonateRequest {
    type Output = WantedImpersonation;

    fn check(self, errors: &mut FieldErrors) -> Option<WantedImpersonation> {
        let reason = errors.text("reason", &self.reason, 10..=500);
        let minutes = self.minutes.unwrap_or(USUAL);
        if !(1..=MAX_IMPERSONATION.num_minutes()).contains(&minutes) {
            errors.add("minutes", "invalid", "must be a number from 1 to 60");
            return None;
        }
        let life = TimeDelta::minutes(minutes);
        Some(WantedImpersonation { reason: reason?, may_write: self.may_write, life })
    }
}

/// A token with which an operator calls the tenant's API.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImpersonationTokenDocument {
    id: Uuid,
    tenant_id: Uuid,
    /// For the tenant's own resources, as `Authorization: Bearer`. It belongs to no account.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until the session ends. There is no refresh token.
    expires_in: i64,
    expires_at: DateTime<Utc>,
    may_write: bool,
}

/// Opens an impersonation session: the operator can read a tenant's data for a limited time. The
/// tenant reads the reason in its own audit log, and can end the session at any time.
///
/// With `may_write` the operator can change what staff can change, but not staff, roles, keys, the
/// organization itself or exports.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{id}/impersonate",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path)),
    request_body = ImpersonateRequest,
    responses((status = 200, description = "Let in.", body = ImpersonationTokenDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn impersonate(
    State(gateway): State<Gateway>,
    operator: Operator<TenantsImpersonate>,
    Id(id): Id,
    JsonBody(wanted): JsonBody<ImpersonateRequest>,
) -> Result<(StatusCode, [(HeaderName, &'static str); 1], Json<ImpersonationTokenDocument>), Problem>
{
    let tenant = Arc::new(find(&gateway, id).await?);
    let Operator { caller, origin, .. } = &operator;
    let let_in = gateway.operators.impersonations.begin(&tenant, caller, wanted, origin).await?;
    let document = ImpersonationTokenDocument {
        id: let_in.impersonation.id,
        tenant_id: tenant.id.0,
        access_token: let_in.access_token,
        token_type: "Bearer",
        expires_in: let_in.expires_in,
        expires_at: let_in.impersonation.expires_at,
        may_write: let_in.impersonation.may_write,
    };
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")], Json(document)))
}
