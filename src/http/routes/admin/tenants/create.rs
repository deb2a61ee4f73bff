use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminTenantDocument, check_plan, find};
use crate::http::Gateway;
use crate::http::extract::operator_permission::TenantsManage;
use crate::http::extract::{Checked, FieldErrors, JsonBody, Operator};
use crate::http::problem::Problem;
use crate::http::responses::AdminProblems;
use crate::http::routes::admin::runs::{self, RunDocument};
use crate::http::routes::auth::password::check_new_password;
use crate::identifiers::{EmailAddress, Slug, Timezone, unguessable_id};
use crate::provisioning::{NewOwner, NewTenant, RunFailure, WantedSlug};

#[derive(Deserialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CreateTenant {
    /// 1 to 120 characters.
    #[schema(required = true, example = "First Baptist Church")]
    organization_name: String,
    /// 3 to 40 of `[a-z0-9-]`; derived from the organization's name where absent.
    slug: Option<String>,
    /// IANA name; UTC where absent.
    #[schema(example = "America/Chicago")]
    timezone: Option<String>,
    /// `standard` where absent.
    plan: Option<String>,
    #[schema(required = true)]
    owner: CreateTenantOwner,
}

/// The first member of staff. Serialized only for the OpenAPI document: the default of an absent
/// owner has empty texts.
#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CreateTenantOwner {
    #[schema(required = true, example = "pastor@example.org")]
    email: String,
    #[schema(required = true)]
    first_name: String,
    #[schema(required = true)]
    last_name: String,
    /// 10 to 128 characters. Where absent, the owner gets an unknown password, and asks for a new
    /// one by email.
    password: Option<String>,
}

/// The checked request; the password is not hashed yet.
pub(crate) struct CheckedTenant {
    organization_name: String,
    slug: Option<Slug>,
    timezone: Timezone,
    plan: Option<String>,
    email: EmailAddress,
    first_name: String,
    last_name: String,
    password: SecretString,
}

impl Checked for CreateTenant {
    type Output = CheckedTenant;

    fn check(self, errors: &mut FieldErrors) -> Option<CheckedTenant> {
        let owner = self.owner;
        let organization_name = errors.name("organization_name", &self.organization_name, 1..=120);
        let slug = errors.optional("slug", self.slug.as_deref());
        let timezone = errors.optional("timezone", self.timezone.as_deref());
        let plan = self.plan.map(|plan| check_plan(errors, &plan));
        let email = errors.required("owner.email", &owner.email);
        let first_name = errors.name("owner.first_name", &owner.first_name, 1..=80);
        let last_name = errors.name("owner.last_name", &owner.last_name, 1..=80);
        let password = match owner.password {
            Some(password) => check_new_password(errors, "owner.password", password),
            // 244 random bits that are never shown.
            None => Some(format!("{}{}", unguessable_id(), unguessable_id()).into()),
        };
        Some(CheckedTenant {
            organization_name: organization_name?,
            slug: slug?,
            timezone: timezone?.unwrap_or(Timezone::UTC),
            plan: plan.flatten(),
            email: email?,
            first_name: first_name?,
            last_name: last_name?,
            password: password?,
        })
    }
}

/// Creates a tenant with its own database.
///
/// Answers 201 when the tenant is ready within some seconds, else 202 with the run. The work goes
/// on even if the client disconnects.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants",
    tag = "Operators: tenants",
    request_body = CreateTenant,
    responses(
        (status = 201, description = "The tenant.", body = AdminTenantDocument),
        (status = 202, description = "It is being made; see Location.", body = RunDocument),
        AdminProblems,
    ),
    security(("operator" = [])),
)]
pub(crate) async fn create_tenant(
    State(gateway): State<Gateway>,
    operator: Operator<TenantsManage>,
    JsonBody(wanted): JsonBody<CreateTenant>,
) -> Result<Response, Problem> {
    let about = vec![
        wanted.organization_name.clone(),
        wanted.email.as_str().to_owned(),
        wanted.first_name.clone(),
        wanted.last_name.clone(),
    ];
    let hashed = gateway.accounts.hasher().hash_new(wanted.password, about).await;
    let password_hash = hashed.map_err(|e| Problem::from(e).of_field("owner.password"))?;
    let new = NewTenant {
        organization_name: wanted.organization_name,
        slug: wanted.slug.map_or(WantedSlug::Derived, WantedSlug::Exactly),
        timezone: wanted.timezone,
        plan: wanted.plan,
        unproven: false,
        owner: Some(NewOwner {
            email: wanted.email,
            password_hash,
            first_name: wanted.first_name,
            last_name: wanted.last_name,
        }),
    };
    let started = gateway.provisioner.create_for(&new, &operator.origin).await?;
    let run = started.planned.run_id;
    match tokio::time::timeout(gateway.registration_wait, started.outcome()).await {
        Ok(Ok(created)) => {
            let tenant = find(&gateway, created.tenant_id.0).await?;
            let location = [(header::LOCATION, format!("/v1/admin/tenants/{}", tenant.id))];
            let document = AdminTenantDocument::from(tenant);
            Ok((StatusCode::CREATED, location, Json(document)).into_response())
        }
        Ok(Err(failure @ (RunFailure::Refused(_) | RunFailure::Broken { .. }))) => {
            Err(failure.into())
        }
        // The run goes on.
        Ok(Err(RunFailure::Unfinished(_))) | Err(_) => {
            let (run, _) = runs::find(&gateway, run.0).await?;
            let location = [(header::LOCATION, runs::location(run.id.0))];
            Ok((StatusCode::ACCEPTED, location, Json(RunDocument::from(run))).into_response())
        }
    }
}
