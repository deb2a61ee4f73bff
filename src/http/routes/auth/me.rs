use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::{TenantDocument, UserDocument};
use crate::http::Code;
use crate::http::extract::Authorized;
use crate::http::extract::permission::AnyStaff;
use crate::http::openapi::TenantProblems;
use crate::http::problem::Problem;
use crate::tenant_data::staff;

#[derive(Serialize, ToSchema)]
pub(crate) struct MeDocument {
    user: UserDocument,
    tenant: TenantDocument,
    permissions: Vec<String>,
    /// Has the caller proven that letters to their address arrive?
    email_verified: bool,
}

/// Who the token speaks for, and what they may do.
#[utoipa::path(
    get,
    path = "/v1/auth/me",
    tag = "Registration and sessions",
    responses((status = 200, description = "The caller.", body = MeDocument), TenantProblems),
    security(("token" = [])),
)]
pub(crate) async fn me(access: Authorized<AnyStaff>) -> Result<Json<MeDocument>, Problem> {
    let permissions = access.permissions().await?.to_vec();
    let db = access.connect().await?;
    // Removed or disabled since the token was made: it speaks for nobody.
    let user = staff::find_active(&db, access.claims.sub).await?.ok_or(Code::InvalidToken)?;
    Ok(Json(MeDocument {
        email_verified: user.email_verified_at.is_some(),
        user: user.into(),
        tenant: TenantDocument::from(&*access.tenant),
        permissions,
    }))
}
