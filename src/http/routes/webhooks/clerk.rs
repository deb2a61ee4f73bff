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
use crate::standard_webhooks::SignedHeaders;
use crate::webhooks::clerk::Receipt;
use crate::webhooks::clerk::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};

#[derive(Serialize, ToSchema)]
pub(crate) struct ClerkReceiptDocument {
    status: Receipt,
}

/// Takes a delivery of Clerk: signed by Svix with HMAC-SHA256 over `id.timestamp.body`, at most
/// 300 s old.
///
/// 200 means that the delivery is recorded. It is processed afterwards.
#[utoipa::path(
    post,
    path = "/webhooks/clerk",
    tag = "Webhooks",
    request_body(content = Object, description = "The provider's event."),
    params(
        ("svix-id" = String, Header, description = "Of the delivery; the same in every attempt."),
        ("svix-timestamp" = String, Header, description = "Seconds since 1970."),
        ("svix-signature" = String, Header, description = "`v1,` and base64; several apart by spaces."),
    ),
    responses((status = 200, description = "Recorded.", body = ClerkReceiptDocument), WebhookProblems),
)]
pub(crate) async fn receive_clerk(
    State(gateway): State<Gateway>,
    request: Request,
) -> Result<Json<ClerkReceiptDocument>, Problem> {
    gateway.clerk.admit(&signed_headers(request.headers()))?;
    let body = read_body(request, &gateway, Purpose::Webhook).await?;
    let status = gateway.clerk.receive(signed_headers(&body.headers), &body.bytes).await?;
    Ok(Json(ClerkReceiptDocument { status }))
}

fn signed_headers(headers: &HeaderMap) -> SignedHeaders<'_> {
    let values = |name| {
        headers.get_all(name).into_iter().map(reqwest::header::HeaderValue::as_bytes).collect()
    };
    SignedHeaders {
        ids: values(ID_HEADER),
        timestamps: values(TIMESTAMP_HEADER),
        signatures: values(SIGNATURE_HEADER),
    }
}
