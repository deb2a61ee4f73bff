use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};

use super::{conflict, find};
use crate::http::extract::operator_permission::TenantsSupport;
use crate::http::extract::{Id, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::routes::admin::runs::{self, RunDocument};
use crate::http::{Code, Gateway};
use crate::provisioning::RepairError;

/// Repairs a tenant that is damaged or failed: role, database, rights, schema and seed are made
/// where they are missing.
///
/// A database that has vanished is not created again. An operator has to order that on the command
/// line.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{id}/provision",
    tag = "Operators: tenants",
    params(("id" = Uuid, Path)),
    responses((status = 202, description = "The run; see Location.", body = RunDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn provision_tenant(
    State(gateway): State<Gateway>,
    operator: Operator<TenantsSupport>,
    Id(id): Id,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<RunDocument>), Problem> {
    let tenant = find(&gateway, id).await?;
    let planned = gateway.provisioner.repair(&tenant, None, false, &operator.origin).await;
    let planned = planned.map_err(|reason| match reason {
        RepairError::Busy(_) => Problem::with_detail(
            Code::Conflict,
            "Another run of the tenant still goes on; `runs` of the tenant shows it.",
        ),
        RepairError::Status(_) => conflict(&tenant, "mended"),
        RepairError::Registry(error) => error.into(),
    })?;
    let (run, _) = runs::find(&gateway, planned.run_id.0).await?;
    gateway.provisioner.begin(planned);
    let location = [(header::LOCATION, runs::location(run.id.0))];
    Ok((StatusCode::ACCEPTED, location, Json(run.into())))
}
