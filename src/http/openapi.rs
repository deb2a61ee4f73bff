//! The OpenAPI document: made from the handlers, so that it cannot say other than they do.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, ContentBuilder, Info, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
};

use super::problem::ProblemDocument;
use super::router::documented;

pub(super) fn base() -> OpenApi {
    let mut info = Info::new("Narthex", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "A gateway that gives every tenant its own PostgreSQL database. Errors are RFC 9457 problem documents; \
         every `code` is explained at `/problems/{code}`."
            .to_owned(),
    );
    OpenApiBuilder::new().info(info).build()
}

/// Adds what no handler can say: how a token is sent, and the shape of a problem.
pub(super) fn finish(mut document: OpenApi) -> OpenApi {
    let components = document.components.get_or_insert_with(Components::default);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.add_security_scheme("operator", SecurityScheme::Http(bearer));
    let cookie = ApiKey::Cookie(ApiKeyValue::new("__Host-narthex_access"));
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
    let mut schemas = Vec::new();
    <ProblemDocument as utoipa::ToSchema>::schemas(&mut schemas);
    schemas.push((
        <ProblemDocument as utoipa::ToSchema>::name().into_owned(),
        <ProblemDocument as utoipa::PartialSchema>::schema(),
    ));
    components.schemas.extend(schemas);
    // Whatever takes the token of a tenant's staff takes the cookie as well.
    let token = SecurityRequirement::new::<_, _, String>("token", []);
    let operations = document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete]
    });
    let securities = operations.flatten().filter_map(|operation| operation.security.as_mut());
    for security in securities.filter(|security| security.contains(&token)) {
        security.push(SecurityRequirement::new::<_, _, String>("cookie", []));
    }
    document
}

/// The document as JSON, for people and for `docs/openapi.json`.
pub fn document() -> Result<String, serde_json::Error> {
    finish(documented().into_openapi()).to_pretty_json()
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
            (400, "`malformed_body`, `malformed_request`"),
            (401, "`invalid_credentials`, `invalid_token`"),
            (403, "`tenant_mismatch`, `csrf_rejected`"),
            (409, "`email_taken`, `slug_taken`, `tenant_selection_required`"),
            (413, "`body_too_large`"),
            (415, "`unsupported_media_type`"),
            (422, "`validation_failed`"),
            (429, "`rate_limited`"),
            (503, "`busy`, `registry_unavailable`, `tenant_database_unavailable`, `draining`"),
        ])
    }
}

/// The problems of a call on a tenant's own resources.
pub struct TenantProblems;

impl IntoResponses for TenantProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (400, "`malformed_body`, `malformed_request`"),
            (401, "`invalid_token`, `token_expired`, `token_revoked`"),
            (
                403,
                "`forbidden`, `tenant_suspended`, `tenant_deleted`, `tenant_mismatch`, `csrf_rejected`",
            ),
            (404, "`not_found`"),
            (409, "`conflict`"),
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
            (403, "`forbidden`, `mfa_enrollment_required`"),
            (404, "`not_found`"),
            (409, "`conflict`, `email_taken`, `slug_taken`"),
            (413, "`body_too_large`"),
            (415, "`unsupported_media_type`"),
            (422, "`validation_failed`"),
            (429, "`rate_limited`"),
            (503, "`registry_unavailable`, `busy`, `draining`"),
        ])
    }
}

/// The problems of an operator's sign-in.
pub struct AdminLoginProblems;

impl IntoResponses for AdminLoginProblems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        described(&[
            (400, "`malformed_body`"),
            (401, "`invalid_credentials`, `mfa_required`"),
            (413, "`body_too_large`"),
            (415, "`unsupported_media_type`"),
            (422, "`validation_failed`"),
            (429, "`rate_limited`"),
            (503, "`registry_unavailable`, `busy`, `draining`"),
        ])
    }
}

/// The problems of a call that anybody may make to read something.
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

/// The problems of a call that anybody may make at the host of a tenant.
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
            (400, "`malformed_event`"),
            (401, "`invalid_signature`"),
            (413, "`body_too_large`"),
            (503, "`not_stored`: send it again"),
        ])
    }
}
