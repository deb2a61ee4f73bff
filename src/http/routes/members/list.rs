use axum::Json;
use serde::Deserialize;
use utoipa::IntoParams;

use super::MemberDocument;
use crate::http::extract::permission::MembersRead;
use crate::http::extract::{Authorized, Checked, FieldErrors, PageDocument, Parameters, list_page};
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::messaging::members::{self, MemberFilter};
use crate::paging::PageRequest;
use crate::plain_text::is_control;

#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListMembers {
    /// A part of the name, of the email address or of the phone number; the number with or without
    /// punctuation and country code.
    q: Option<String>,
    #[param(value_type = Option<Uuid>)]
    branch_id: Option<String>,
    #[param(value_type = Option<Uuid>)]
    group_id: Option<String>,
    #[param(value_type = Option<bool>)]
    opted_out: Option<String>,
    /// Rows at most, 1 to 200; 50 where absent.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

impl Checked for ListMembers {
    type Output = (MemberFilter, PageRequest);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        // A pasted number often contains invisible characters such as direction marks.
        let means_nothing = |c: char| is_control(c) && !c.is_control();
        let q = self.q.unwrap_or_default().replace(means_nothing, "");
        let text = errors.text("q", &q, 0..=200);
        let branch_id = errors.optional_id("branch_id", self.branch_id.as_deref());
        let group_id = errors.optional_id("group_id", self.group_id.as_deref());
        let opted_out = errors.optional("opted_out", self.opted_out.as_deref());
        let page = list_page(errors, self.limit.as_deref(), self.cursor.as_deref());
        let filter = MemberFilter {
            text,
            branch_id: branch_id?,
            group_id: group_id?,
            opted_out: opted_out?,
        };
        Some((filter, page?))
    }
}

/// Members, newest first.
#[utoipa::path(
    get,
    path = "/v1/members",
    tag = "Members",
    params(ListMembers),
    responses((status = 200, description = "A part of the list.", body = PageDocument<MemberDocument>), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn list_members(
    access: Authorized<MembersRead>,
    Parameters((filter, page)): Parameters<ListMembers>,
) -> Result<Json<PageDocument<MemberDocument>>, Problem> {
    let db = access.connect().await?;
    Ok(PageDocument::from_page(members::list(&db, filter, page).await?))
}
