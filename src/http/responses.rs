//! The problems that each group of routes can answer with, for the OpenAPI document.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

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
            (400, "`malformed_body`, `malformed_request`"),
            (401, "`invalid_credentials`, `mfa_required`, `invalid_token`"),
            (403, "`tenant_mismatch`, `tenant_suspended`, `tenant_deleted`, `csrf_rejected`"),
            (
                409,
                "`email_taken`, `slug_taken`, `tenant_selection_required`, `idempotency_in_progress`, `conflict`",
            ),
            (408, "`body_timeout`"),
            (413, "`body_too_large`"),
            (415, "`unsupported_media_type`"),
            (422, "`validation_failed`, `idempotency_key_reused`"),
            (429, "`rate_limited`"),
            (
                503,
                "`busy`, `pool_busy`, `router_saturated`, `tenant_database_unavailable`, `tenant_provisioning`, \
                 `tenant_failed`, `tenant_schema_outdated`, `registry_unavailable`, `draining`",
            ),
        ])
    }
}

/// The problems of a call on a tenant's own resources.
pub struct TenantProblems;

impl IntoResponses for TenantProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (400, "`malformed_body`, `malformed_request`"),
            (
                401,
                "`invalid_token`, `token_expired`, `token_revoked`; `invalid_credentials` where the call asks for a secret",
            ),
            (
                403,
                "`forbidden`, `mfa_enrollment_required`, `step_up_required`, `email_not_verified`, `tenant_suspended`, `tenant_deleted`, `tenant_mismatch`, `csrf_rejected`",
            ),
            (404, "`not_found`"),
            (409, "`conflict`"),
            (408, "`body_timeout`"),
            (413, "`body_too_large`"),
            (415, "`unsupported_media_type`"),
            (422, "`validation_failed`"),
            (429, "`rate_limited`"),
            (
                503,
                "`pool_busy`, `router_saturated`, `tenant_database_unavailable`, `tenant_provisioning`, \
                 `tenant_failed`, `tenant_schema_outdated`, `registry_unavailable`, `busy`, `draining`",
            ),
        ])
    }
}

/// The problems of an operator's call.
pub struct AdminProblems;

impl IntoResponses for AdminProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (400, "`malformed_body`, `malformed_request`"),
            (401, "`invalid_token`, `token_expired`, `token_revoked`, `invalid_credentials`"),
            (403, "`forbidden`, `mfa_enrollment_required`, `step_up_required`"),
            (404, "`not_found`"),
            (409, "`conflict`, `email_taken`, `slug_taken`"),
            (408, "`body_timeout`"),
            (413, "`body_too_large`"),
            (415, "`unsupported_media_type`"),
            (422, "`validation_failed`"),
            (429, "`rate_limited`"),
            (503, "`registry_unavailable`, `busy`, `draining`"),
        ])
    }
}

/// The problems of an operator's login.
pub struct AdminLoginProblems;

impl IntoResponses for AdminLoginProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (400, "`malformed_body`"),
            (401, "`invalid_credentials`, `mfa_required`"),
            (408, "`body_timeout`"),
            (413, "`body_too_large`"),
            (415, "`unsupported_media_type`"),
            (422, "`validation_failed`"),
            (429, "`rate_limited`"),
            (503, "`registry_unavailable`, `busy`, `draining`"),
        ])
    }
}

/// The problems of a call without a token that reads something.
pub struct LookUpProblems;

impl IntoResponses for LookUpProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (404, "`not_found`"),
            (429, "`rate_limited`"),
            (503, "`registry_unavailable`, `busy`, `draining`"),
        ])
    }
}

/// The problems of a call without a token at the host of a tenant.
pub struct HostProblems;

impl IntoResponses for HostProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (400, "`malformed_request`"),
            (403, "`tenant_suspended`, `tenant_mismatch`"),
            (404, "`tenant_not_found`"),
            (429, "`rate_limited`"),
            (503, "`registry_unavailable`, `busy`, `draining`"),
        ])
    }
}

/// The problems of a webhook.
pub struct WebhookProblems;

impl IntoResponses for WebhookProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (400, "`malformed_event`, `malformed_body`"),
            (401, "`invalid_signature`"),
            (408, "`body_timeout`"),
            (413, "`body_too_large`"),
            (503, "`not_stored`, `busy`: send it again"),
        ])
    }
}
