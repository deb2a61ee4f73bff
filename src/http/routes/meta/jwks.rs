use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::PublicJwk;
use crate::http::Gateway;

#[derive(Serialize, ToSchema)]
pub(crate) struct JwksDocument {
    keys: Vec<PublicJwk>,
}

/// The public keys that verify our access tokens (RFC 7517).
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "About",
    responses((status = 200, description = "The public keys.", body = JwksDocument)),
)]
pub(crate) async fn show_jwks(
    State(gateway): State<Gateway>,
) -> ([(HeaderName, &'static str); 1], Json<JwksDocument>) {
    let keys = gateway.access.tokens().public_keys();
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(JwksDocument { keys }))
}
