//! Somebody who wants to be signed out. That must work after the time of their token is over, and a second time: what is to end
//! is not demanded.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::access::{bearer, expect_no_other};
use super::cookies::access_token;
use super::operator_permission::OwnAccount;
use super::{Operator, RefreshCookie};
use crate::authentication::SigningOut;
use crate::http::problem::Problem;
use crate::http::{Code, Gateway};
use crate::registry::tenants::Tenant;

/// What a member of staff shows who leaves: what their header says, else what their cookies do.
pub(in crate::http) struct Leaving {
    access: Option<String>,
    refresh: Option<String>,
    parts: Parts,
}

impl FromRequestParts<Gateway> for Leaving {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let (access, refresh) = match bearer(&parts.headers)?.map(str::to_owned) {
            Some(token) => (Some(token), None),
            None => {
                let RefreshCookie(refresh) = RefreshCookie::from_request_parts(parts, gateway)
                    .await
                    .unwrap_or_else(|never| match never {});
                (access_token(parts, gateway)?, refresh?)
            }
        };
        Ok(Self { access, refresh, parts: parts.clone() })
    }
}

impl Leaving {
    /// Whose session is to end, and in which tenant; without one there is nothing left of it. `token`: a refresh token of the
    /// body, which goes before that of the cookie.
    pub async fn of(
        self,
        gateway: &Gateway,
        token: Option<String>,
    ) -> Result<Option<(Arc<Tenant>, SigningOut)>, Problem> {
        let refresh = token.or(self.refresh);
        let shown = (self.access.as_deref(), refresh.as_deref());
        let leaving = gateway.authentication.signing_out(shown.0, shown.1).await?;
        let tenant = gateway.router.directory().tenant(leaving.tenant).await?;
        let Some(tenant) = tenant else { return Ok(None) };
        expect_no_other(&self.parts, gateway, &tenant).await?;
        Ok(Some((tenant, leaving)))
    }
}

/// An operator who leaves; `None`: their session is over. It ends with its token.
pub(in crate::http) struct LeavingOperator(pub Option<Operator<OwnAccount>>);

impl FromRequestParts<Gateway> for LeavingOperator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        match Operator::from_request_parts(parts, gateway).await {
            Ok(operator) => Ok(Self(Some(operator))),
            Err(problem) if matches!(problem.code(), Code::TokenExpired | Code::TokenRevoked) => {
                Ok(Self(None))
            }
            Err(problem) => Err(problem),
        }
    }
}
