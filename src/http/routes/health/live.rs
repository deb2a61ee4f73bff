use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(crate) struct LiveDocument {
    /// `ok`.
    status: &'static str,
}

/// The process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "Health",
    responses((status = 200, description = "It does.", body = LiveDocument)),
)]
pub(crate) async fn live() -> Json<LiveDocument> {
    Json(LiveDocument { status: "ok" })
}
