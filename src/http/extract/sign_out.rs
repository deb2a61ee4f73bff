//! Somebody who wants to be signed out. That must work after the time of their token is over, and a second time: what is to end
//! is not demanded.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::access::{bearer, expect_no_other};
use super::cookies::{access_token, is_foreign};
use super::operator_permission::OwnAccount;
use super::{Operator, RefreshCookie};
use crate::accounts::SigningOut;
use crate::http::problem::Problem;
use crate::http::{Code, Gateway};
use crate::registry::tenants::Tenant;

/// What a member of staff shows who leaves: what their header says, else what their cookies do.
pub(in crate::http) struct Leaving {
    access: Option<String>,
    refresh: Option<String>,
    /// Is it a page of another origin that sends the request? Such a page has to show a token, and signs no browser out.
    pub is_foreign: bool,
    parts: Parts,
}

impl FromRequestParts<Gateway> for Leaving {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let shown = bearer(&parts.headers).ok().flatten().map(str::to_owned);
        let (access, refresh) = match shown {
            Some(token) => (Some(token), None),
            None => {
                let RefreshCookie(refresh) = RefreshCookie::from_request_parts(parts, gateway)
                    .await
                    .unwrap_or_else(|never| match never {});
                (access_token(parts, gateway)?, refresh?)
            }
        };
        let is_foreign = is_foreign(parts, gateway);
        Ok(Self { access, refresh, is_foreign, parts: parts.clone() })
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
        if self.is_foreign && shown == (None, None) {
            return Err(Code::CsrfRejected.into());
        }
        let leaving = gateway.accounts.sessions.signing_out(shown.0, shown.1).await?;
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
