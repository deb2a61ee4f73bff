use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Gateway;
use crate::http::problem::RETRY_AFTER_SECONDS;
use crate::http::readiness::{ReadinessState, RegistryCheck};

#[derive(Serialize, ToSchema)]
pub(crate) struct ReadyDocument {
    /// `ready`, `starting`, `draining` or `unavailable`.
    status: &'static str,
    checks: ChecksDocument,
}

#[derive(Serialize, ToSchema)]
struct ChecksDocument {
    /// `ok`, `pending` or `failed`.
    registry: &'static str,
    /// Tenants with an open pool on this replica.
    open_tenants: usize,
}

/// Whether this replica should get requests. Answered from memory.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Health",
    responses(
        (status = 200, description = "Yes.", body = ReadyDocument),
        (status = 503, description = "Starting, draining, or without the registry.", body = ReadyDocument),
    ),
)]
pub(crate) async fn ready(
    State(gateway): State<Gateway>,
) -> (StatusCode, HeaderMap, Json<ReadyDocument>) {
    let state = gateway.readiness.state();
    let checks = ChecksDocument {
        registry: match gateway.readiness.registry() {
            RegistryCheck::Ok => "ok",
            RegistryCheck::Pending => "pending",
            RegistryCheck::Failed => "failed",
        },
        open_tenants: gateway.router.open_pools(),
    };
    let mut headers = HeaderMap::new();
    let code = if state == ReadinessState::Ready {
        StatusCode::OK
    } else {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, headers, Json(ReadyDocument { status: state.name(), checks }))
}

/// The same as `/readyz`, at the path that many load balancers use.
#[utoipa::path(
    get,
    path = "/health",
    tag = "Health",
    responses(
        (status = 200, description = "Yes.", body = ReadyDocument),
        (status = 503, description = "Starting, draining, or without the registry.", body = ReadyDocument),
    ),
)]
pub(crate) async fn health(
    gateway: State<Gateway>,
) -> (StatusCode, HeaderMap, Json<ReadyDocument>) {
    ready(gateway).await
}
