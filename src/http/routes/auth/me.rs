use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::{TenantDocument, UserDocument};
use crate::http::Code;
use crate::http::extract::Account;
use crate::http::problem::Problem;
use crate::http::responses::TenantProblems;
use crate::tenant_data::staff;

#[derive(Serialize, ToSchema)]
pub(crate) struct MeDocument {
    user: UserDocument,
    tenant: TenantDocument,
    permissions: Vec<String>,
    /// True if the caller has proven that emails to this address arrive.
    email_verified: bool,
    /// True if the caller must set up a second factor before any other call.
    mfa_enrollment_required: bool,
}

/// The caller of the token, and the caller's permissions.
#[utoipa::path(
    get,
    path = "/v1/auth/me",
    tag = "Registration and sessions",
    responses((status = 200, description = "The caller.", body = MeDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn me(access: Account) -> Result<Json<MeDocument>, Problem> {
    let rights = access.rights().await?;
    let db = access.connect().await?;
    // The account was removed or disabled after the token was made.
    let user = staff::find_active(&db, access.claims.sub).await?.ok_or(Code::InvalidToken)?;
    Ok(Json(MeDocument {
        email_verified: user.email_verified_at.is_some(),
        user: user.into(),
        tenant: TenantDocument::from(&*access.tenant),
        permissions: rights.permissions.clone(),
        mfa_enrollment_required: rights.must_enroll,
    }))
}
