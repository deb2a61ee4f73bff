//! `/v1/auth`: registration, login and logout.

pub(crate) mod email;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod me;
pub(crate) mod mfa;
pub(crate) mod password;
pub(crate) mod refresh;
pub(crate) mod register;
pub(crate) mod sessions;
pub(crate) mod step_up;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, SET_COOKIE};
use axum::response::{AppendHeaders, IntoResponse};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::accounts::SignedIn;
use crate::http::extract::Cookies;
use crate::registry::tenants::{Status, Tenant};
use crate::tenant_data::staff::StaffMember;

/// A tenant as its staff see it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TenantDocument {
    id: Uuid,
    slug: String,
    organization_name: String,
    #[schema(value_type = String, example = "active")]
    status: Status,
    plan: String,
    timezone: String,
    created_at: DateTime<Utc>,
}

impl From<&Tenant> for TenantDocument {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.0,
            slug: tenant.slug.clone(),
            organization_name: tenant.organization_name.clone(),
            status: tenant.status,
            plan: tenant.plan.clone(),
            timezone: tenant.timezone.clone(),
            created_at: tenant.created_at,
        }
    }
}

/// A member of staff.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserDocument {
    id: Uuid,
    email: String,
    first_name: String,
    last_name: String,
    role: String,
    mfa_enabled: bool,
    last_login_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl From<StaffMember> for UserDocument {
    fn from(user: StaffMember) -> Self {
        Self {
            id: user.id,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            role: user.role,
            mfa_enabled: user.mfa_enabled,
            last_login_at: user.last_login_at,
            created_at: user.created_at,
        }
    }
}

/// A signed-in member of staff, and the tokens for the API.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionDocument {
    tenant: TenantDocument,
    user: UserDocument,
    access_token: String,
    refresh_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: i64,
}

impl From<SignedIn> for SessionDocument {
    fn from(signed_in: SignedIn) -> Self {
        Self {
            tenant: TenantDocument::from(&*signed_in.tenant),
            user: signed_in.user.into(),
            access_token: signed_in.tokens.access_token,
            refresh_token: signed_in.tokens.refresh_token,
            token_type: "Bearer",
            expires_in: signed_in.tokens.expires_in,
        }
    }
}

/// A document with tokens: no cache may keep it, and browsers get the tokens as cookies too.
pub(super) fn with_tokens<T: Serialize>(
    cookies: Cookies,
    signed_in: SignedIn,
    document: impl FnOnce(SessionDocument) -> T,
) -> impl IntoResponse {
    let set = cookies.set(&signed_in.tokens).map(|cookie| (SET_COOKIE, cookie));
    let document = Json(document(signed_in.into()));
    ([(CACHE_CONTROL, "no-store")], AppendHeaders(set), document)
}
