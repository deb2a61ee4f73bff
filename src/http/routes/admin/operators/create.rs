use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::Gateway;
use crate::http::extract::operator_permission::OperatorsManage;
use crate::http::extract::{Checked, FieldErrors, JsonBody, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::routes::admin::auth::OperatorDocument;
use crate::http::routes::auth::password::check_new_password;
use crate::operators::NewOperator;
use crate::registry::people::operators::Role;

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CreateOperator {
    #[schema(required = true)]
    email: String,
    /// 1 to 120 characters.
    #[schema(required = true)]
    name: String,
    /// `viewer`, `support` or `admin`.
    #[schema(required = true)]
    role: String,
    /// 10 to 128 characters. The operator should change it.
    #[schema(required = true)]
    password: String,
}

impl Checked for CreateOperator {
    type Output = NewOperator;

    fn check(self, errors: &mut FieldErrors) -> Option<NewOperator> {
        let email = errors.required("email", &self.email);
        let name = errors.name("name", &self.name, 1..=120);
        let role = errors.optional_word::<Role>("role", Some(&self.role));
        if role == Some(None) {
            errors.add("role", "required", "is required");
        }
        let password = check_new_password(errors, "password", self.password);
        Some(NewOperator { email: email?, name: name?, role: role??, password: password? })
    }
}

/// Creates an operator. Where a second factor is required, the operator sets it up at the first
/// login.
#[utoipa::path(
    post,
    path = "/v1/admin/operators",
    tag = "Operators",
    request_body = CreateOperator,
    responses((status = 201, description = "The operator.", body = OperatorDocument), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn create_operator(
    State(gateway): State<Gateway>,
    operator: Operator<OperatorsManage>,
    JsonBody(new): JsonBody<CreateOperator>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<OperatorDocument>), Problem> {
    let created = gateway.operators.directory.create(new, &operator.origin).await?;
    let location = [(header::LOCATION, format!("/v1/admin/operators/{}", created.id))];
    Ok((StatusCode::CREATED, location, Json(OperatorDocument::of(&gateway, &created)?)))
}
