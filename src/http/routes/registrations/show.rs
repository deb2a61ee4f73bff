use axum::Json;
use axum::extract::State;

use super::RegistrationDocument;
use crate::http::extract::{Id, Limited, Open};
use crate::http::problem::Problem;
use crate::http::responses::LookUpProblems;
use crate::http::{Code, Gateway};
use crate::identifiers::RunId;

/// The progress of a registration. No token is needed, because the id cannot be guessed.
#[utoipa::path(
    get,
    path = "/v1/registrations/{id}",
    tag = "Registration and sessions",
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The registration.", body = RegistrationDocument), LookUpProblems),
)]
pub(crate) async fn show_registration(
    State(gateway): State<Gateway>,
    _: Limited<Open>,
    Id(id): Id,
) -> Result<Json<RegistrationDocument>, Problem> {
    let found = gateway.provisioner.progress(RunId(id)).await?.ok_or(Code::NotFound)?;
    Ok(Json(found.into()))
}
