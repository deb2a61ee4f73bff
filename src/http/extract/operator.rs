//! An operator who calls: token, session, audit log, second factor, permission, in this order. Every call is written down
//! before it is judged, so that what was refused stands there too.

use std::convert::Infallible;
use std::marker::PhantomData;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::client::CalledBy;
use super::host::only;
use super::operator_permission::OperatorPermission;
use crate::audit::Origin;
use crate::authentication::{Client, OperatorCaller, origin_of};
use crate::http::middleware::RequestId;
use crate::http::problem::Problem;
use crate::http::{Code, Gateway};

/// From where a request comes, and its id.
pub(in crate::http) struct CalledAs {
    /// The client.
    pub client: Client,
    /// As it is answered.
    pub request_id: Option<String>,
}

impl FromRequestParts<Gateway> for CalledAs {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Infallible> {
        let CalledBy(client) = CalledBy::from_request_parts(parts, gateway).await?;
        let id = parts.extensions.get::<RequestId>();
        let request_id = id.and_then(|RequestId(id)| id.to_str().ok()).map(str::to_owned);
        Ok(Self { client, request_id })
    }
}

/// An operator who is permitted `P`.
pub struct Operator<P> {
    /// Who, in which session.
    pub caller: OperatorCaller,
    /// The client that they call with.
    pub client: Client,
    /// As whom what they do is written down.
    pub origin: Origin,
    permission: PhantomData<P>,
}

/// The token of a request. Operators have no cookies.
fn bearer_token(parts: &Parts) -> Option<&str> {
    let header = only(&parts.headers, AUTHORIZATION.as_str()).ok()??;
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl<P: OperatorPermission> FromRequestParts<Gateway> for Operator<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let Ok(CalledAs { client, request_id }) =
            CalledAs::from_request_parts(parts, gateway).await;
        let token = bearer_token(parts).ok_or(Code::InvalidToken)?;
        let authentication = &gateway.authentication;
        let caller = authentication.authenticate_operator(token).await?;
        gateway.limits.charge_operator(caller.operator.id)?;
        let origin = origin_of(&caller.operator, &client, request_id);
        let matched = parts.extensions.get::<MatchedPath>().map_or("-", MatchedPath::as_str);
        let route = format!("{} {matched}", parts.method);
        authentication.note_request(&origin, &route, parts.uri.path()).await?;
        if let Some((name, least)) = P::NEEDED {
            if gateway.operator_mfa_required && !caller.operator.has_second_factor() {
                return Err(Code::MfaEnrollmentRequired.into());
            }
            if caller.operator.role < least {
                let detail = format!("Your role does not permit `{name}`.");
                return Err(Problem::with_detail(Code::Forbidden, detail));
            }
        }
        Ok(Self { caller, client, origin, permission: PhantomData })
    }
}
