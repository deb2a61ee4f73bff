//! The OpenAPI document: made from the handlers, so that it cannot say other than they do.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Info, OpenApi, OpenApiBuilder};

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
    let mut schemas = Vec::new();
    <ProblemDocument as utoipa::ToSchema>::schemas(&mut schemas);
    schemas.push((
        <ProblemDocument as utoipa::ToSchema>::name().into_owned(),
        <ProblemDocument as utoipa::PartialSchema>::schema(),
    ));
    components.schemas.extend(schemas);
    document
}

/// The document as JSON, for people and for `docs/openapi.json`.
pub fn document() -> Result<String, serde_json::Error> {
    finish(documented().into_openapi()).to_pretty_json()
}
