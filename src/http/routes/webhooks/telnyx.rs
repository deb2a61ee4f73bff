use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Gateway;
use crate::http::body_memory::Purpose;
use crate::http::extract::read_body;
use crate::http::problem::Problem;
use crate::http::responses::WebhookProblems;
use crate::webhooks::telnyx::Receipt;
use crate::webhooks::telnyx::signature::{SIGNATURE_HEADER, TIMESTAMP_HEADER};

#[derive(Serialize, ToSchema)]
pub(crate) struct ReceiptDocument {
    status: Receipt,
}

/// Takes an event of Telnyx: signed with Ed25519 over `timestamp|body`, at most 300 s old.
///
/// 200 means that the event is stored: in its tenant's database, or parked until the tenant can
/// take it.
#[utoipa::path(
    post,
    path = "/webhooks/telnyx",
    tag = "Webhooks",
    request_body(content = Object, description = "The provider's event."),
    params(
        ("telnyx-signature-ed25519" = String, Header, description = "Base64 of the 64-byte signature."),
        ("telnyx-timestamp" = String, Header, description = "Seconds since 1970."),
    ),
    responses((status = 200, description = "Stored.", body = ReceiptDocument), WebhookProblems),
)]
pub(crate) async fn receive_telnyx(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Json<ReceiptDocument>, Problem> {
    let headers = request.headers();
    gateway.telnyx.admit(values(headers, SIGNATURE_HEADER), values(headers, TIMESTAMP_HEADER))?;
    let body = read_body(request, &gateway, Purpose::Webhook).await?;
    let signatures = values(&body.headers, SIGNATURE_HEADER);
    let timestamps = values(&body.headers, TIMESTAMP_HEADER);
    let status = gateway.telnyx.receive(signatures, timestamps, &body.bytes).await?;
    Ok(Json(ReceiptDocument { status }))
}

fn values<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).into_iter().map(reqwest::header::HeaderValue::as_bytes)
}
