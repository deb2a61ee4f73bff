use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{conflict, find};
use crate::http::extract::operator_permission::{TenantsRead, TenantsSupport};
use crate::http::extract::{
    Checked, FieldErrors, Id, JsonBody, ListParameters, Operator, PageDocument, Parameters,
};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::{Code, Gateway};
use crate::identifiers::{LineNumber, TenantId};
use crate::paging::{Page, Position};
use crate::registry::tenants::phone_numbers::{self, Assignment, NotAssigned};
use crate::tenants::AssignError;

/// A number that a tenant holds.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeldNumberDocument {
    id: Uuid,
    /// E.164, or a short code.
    number: String,
    /// Since when the tenant holds it.
    valid_from: DateTime<Utc>,
}

impl From<Assignment> for HeldNumberDocument {
    fn from(held: Assignment) -> Self {
        Self { id: held.id, number: held.number, valid_from: held.valid_from }
    }
}

async fn held_by(gateway: &Gateway, tenant: Uuid) -> Result<Vec<Assignment>, Problem> {
    let tenant = find(gateway, tenant).await?.id;
    let db = gateway.registry.connect().await?;
    Ok(phone_numbers::held_by(&db, tenant).await?)
}

/// The numbers that a tenant holds now, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{id}/phone-numbers",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path), ListParameters),
    responses((status = 200, description = "A part of the list.", body = PageDocument<HeldNumberDocument>), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn list_tenant_numbers(
    State(gateway): State<Gateway>,
    _: Operator<TenantsRead>,
    Id(id): Id,
    Parameters(page): Parameters<ListParameters>,
) -> Result<Json<PageDocument<HeldNumberDocument>>, Problem> {
    let rows = held_by(&gateway, id).await?;
    let position = |held: &Assignment| Position { at: held.valid_from, id: held.id };
    Ok(PageDocument::from_page(Page::of_all(rows, page, position)))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AssignNumber {
    /// E.164, or the same number with usual punctuation; or a short code of 5 or 6 digits.
    #[schema(required = true, example = "+13125550101")]
    number: String,
}

impl Checked for AssignNumber {
    type Output = LineNumber;

    fn check(self, errors: &mut FieldErrors) -> Option<LineNumber> {
        errors.required("number", &self.number)
    }
}

/// Assigns a number to an active tenant, from now on. Parked messages to the number that are the
/// tenant's are delivered at once.
///
/// A number of another tenant: `conflict`.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{id}/phone-numbers",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path)),
    request_body = AssignNumber,
    responses((status = 201, description = "The number.", body = HeldNumberDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn assign_tenant_number(
    State(gateway): State<Gateway>,
    operator: Operator<TenantsSupport>,
    Id(id): Id,
    JsonBody(number): JsonBody<AssignNumber>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<HeldNumberDocument>), Problem> {
    let tenant = find(&gateway, id).await?;
    match gateway.tenants.assign_number(TenantId(id), &number, &operator.origin).await {
        Ok(_hastened) => {}
        Err(AssignError::NotAssigned(NotAssigned::TenantNotActive)) => {
            return Err(conflict(&tenant, "given a number"));
        }
        Err(AssignError::NotAssigned(NotAssigned::Taken(holder))) => {
            let detail =
                format!("The number belongs to the tenant {holder}. Release it there first.");
            return Err(Problem::with_detail(Code::Conflict, detail));
        }
        Err(AssignError::Registry(error)) => return Err(error.into()),
    }
    let held = held_by(&gateway, id).await?;
    let held = held.into_iter().find(|held| held.number == number.as_str());
    let path = format!("/v1/admin/tenants/{id}/phone-numbers/{}", number.as_str());
    let held = held.ok_or(Code::Conflict)?.into();
    Ok((StatusCode::CREATED, [(header::LOCATION, path)], Json(held)))
}

/// Takes a number away from a tenant, from now on. Messages that arrived before stay the tenant's.
#[utoipa::path(
    delete,
    path = "/v1/admin/tenants/{id}/phone-numbers/{number}",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path), ("number" = String, Path, description = "E.164, or a short code.")),
    responses((status = 204, description = "Released."), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn release_tenant_number(
    State(gateway): State<Gateway>,
    operator: Operator<TenantsSupport>,
    path: Result<Path<(Uuid, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    // A path without a valid id and number gets 404.
    let Path((id, number)) = path.map_err(|_| Code::NotFound)?;
    let number: LineNumber = number.parse().map_err(|_| Code::NotFound)?;
    match gateway.tenants.release_number(TenantId(id), &number, &operator.origin).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Code::NotFound.into()),
    }
}
