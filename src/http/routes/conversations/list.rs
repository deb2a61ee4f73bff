use axum::Json;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ConversationDocument;
use crate::http::extract::permission::ConversationsRead;
use crate::http::extract::{Authorized, Checked, FieldErrors, PageDocument, Parameters, list_page};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::conversations::{self, ConversationFilter};
use crate::paging::PageRequest;

#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListConversations {
    /// `open` or `closed`.
    status: Option<String>,
    /// Id of a member of staff.
    #[param(value_type = Option<Uuid>)]
    assigned_to: Option<String>,
    #[param(value_type = Option<bool>)]
    unread: Option<String>,
    /// Rows at most, 1 to 200; 50 where absent.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

impl Checked for ListConversations {
    type Output = (ConversationFilter, PageRequest);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        if self.status.as_deref().is_some_and(|status| !matches!(status, "open" | "closed")) {
            errors.add("status", "invalid", "must be `open` or `closed`");
        }
        let assigned_to = errors.optional_id("assigned_to", self.assigned_to.as_deref());
        let unread = errors.optional("unread", self.unread.as_deref());
        let page = list_page(errors, self.limit.as_deref(), self.cursor.as_deref());
        let filter =
            ConversationFilter { status: self.status, assigned_to: assigned_to?, unread: unread? };
        Some((filter, page?))
    }
}

/// Conversations, the one with the newest message first.
#[utoipa::path(
    get,
    path = "/v1/conversations",
    tag = "Conversations",
    params(ListConversations),
    responses(
        (status = 200, description = "A part of the list.", body = PageDocument<ConversationDocument>),
        TenantProblems,
    ),
    security(("token" = [])),
)]
pub(crate) async fn list_conversations(
    access: Authorized<ConversationsRead>,
    Parameters((filter, page)): Parameters<ListConversations>,
) -> Result<Json<PageDocument<ConversationDocument>>, Problem> {
    let db = access.connect().await?;
    Ok(PageDocument::from_page(conversations::list(&db, filter, page).await?))
}
