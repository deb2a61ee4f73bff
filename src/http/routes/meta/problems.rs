use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Html;

use crate::http::Code;
use crate::http::problem::Problem;
use crate::http::responses::LookUpProblems;

/// What an error code means, and what to do about it.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "About",
    params(("code" = String, Path)),
    responses((status = 200, description = "A page for people.", body = String, content_type = "text/html"), LookUpProblems),
)]
pub(crate) async fn show_problem(
    code: Result<Path<String>, PathRejection>,
) -> Result<Html<String>, Problem> {
    // A code that is not UTF-8 is unknown.
    let Path(code) = code.map_err(|_| Code::NotFound)?;
    let known = Code::ALL.iter().find(|known| known.as_str() == code).ok_or(Code::NotFound)?;
    // Every text is a constant of ours. The page contains nothing from the request.
    Ok(Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <h1>{title}</h1><p><code>{code}</code> &middot; HTTP {status}</p><p>{meaning}</p></html>\n",
        title = known.title(),
        code = known.as_str(),
        status = known.status().as_u16(),
        meaning = known.meaning(),
    )))
}
