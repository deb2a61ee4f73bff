use axum::Json;
use axum::extract::State;

use crate::http::Gateway;
use crate::http::extract::operator_permission::OperatorsRead;
use crate::http::extract::{ListParameters, Operator, PageDocument, Parameters};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::routes::admin::auth::OperatorDocument;
use crate::registry::people::operators;

/// Operators, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/operators",
    tag = "Operators",
    params(ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<OperatorDocument>), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn list_operators(
    State(gateway): State<Gateway>,
    _: Operator<OperatorsRead>,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<OperatorDocument>>, Problem> {
    let db = gateway.registry.connect().await?;
    let page = operators::list(&db, page).await?;
    drop(db);
    let (rows, next) = (page.rows.iter(), page.next);
    let rows: Result<Vec<_>, _> = rows.map(|row| OperatorDocument::of(&gateway, row)).collect();
    Ok(PageDocument::from_page(crate::paging::Page { rows: rows?, next }))
}
