use axum::Json;

use super::ConversationDocument;
use crate::http::Code;
use crate::http::extract::permission::ConversationsRead;
use crate::http::extract::{Authorized, Id};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::conversations;

/// One conversation.
#[utoipa::path(
    get,
    path = "/v1/conversations/{id}",
    tag = "Conversations",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The conversation.", body = ConversationDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn show_conversation(
    access: Authorized<ConversationsRead>,
    Id(id): Id,
) -> Result<Json<ConversationDocument>, Problem> {
    let db = access.connect().await?;
    let conversation = conversations::find(&db, id).await?.ok_or(Code::NotFound)?;
    Ok(Json(conversation.into()))
}
