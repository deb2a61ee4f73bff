//! Sign-out. It must work after the token has expired, and a second time. So it does not require a
//! live session.

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

/// The tokens of a member of staff who signs out: the token of the header, else the tokens of the
/// cookies.
pub(in crate::http) struct Leaving {
    access: Option<String>,
    refresh: Option<String>,
    /// True if a page of another origin sends the request. Such a page has to show a token, and its
    /// request deletes no cookies.
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
    /// The session to end, and its tenant. `None`: the tenant does not exist any more. `token` is a
    /// refresh token of the body; it goes before that of the cookie.
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

/// An operator who signs out. `None`: the session is over. An operator's session ends with its
/// token.
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
