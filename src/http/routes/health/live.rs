use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(crate) struct LiveDocument {
    /// Always `ok`.
    status: &'static str,
}

/// The process is running.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "Health",
    responses((status = 200, description = "It does.", body = LiveDocument)),
)]
pub(crate) async fn live() -> Json<LiveDocument> {
    Json(LiveDocument { status: "ok" })
}
