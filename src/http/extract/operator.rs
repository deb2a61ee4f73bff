//! An operator's request: token, session, audit log, second factor, permission, in this order.
//! Every call is recorded before its permission is checked, so that the log has the refused calls
//! too.

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use sea_orm::ActiveEnum;

use super::access::bearer;
use super::client::client;
use super::operator_permission::OperatorPermission;
use crate::access::{Client, OperatorCaller};
use crate::audit::{Origin, Warrant};
use crate::http::problem::Problem;
use crate::http::{Code, Gateway};
use crate::operators::origin_of;

/// An operator who has permission `P`.
pub struct Operator<P> {
    /// The operator and the session.
    pub caller: OperatorCaller,
    /// The client of the request.
    pub client: Client,
    /// The request context that the audit log records.
    pub origin: Origin,
    permission: PhantomData<P>,
}

impl<P: OperatorPermission> FromRequestParts<Gateway> for Operator<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let client = client(parts, gateway);
        // Operators have no cookies.
        let token = bearer(&parts.headers)?.ok_or(Code::InvalidToken)?;
        let claims = gateway.access.verify_operator(token).await?;
        // A disabled operator's token stays valid for some hours. It must not keep the registry
        // busy.
        gateway.limits.charge_operator(claims.sub)?;
        let caller = gateway.access.authenticate_operator(claims).await?;
        let judged = origin_of(&caller.operator, &client);
        let matched = parts.extensions.get::<MatchedPath>().map_or("-", MatchedPath::as_str);
        let route = format!("{} {matched}", parts.method);
        gateway.operators.requests.record(&judged, &route, parts.uri.path()).await?;
        if let Some((name, least)) = P::NEEDED {
            if gateway.operator_mfa_required && !caller.operator.has_second_factor() {
                return Err(Code::MfaEnrollmentRequired.into());
            }
            if caller.operator.role < least {
                let detail = format!("Your role does not permit `{name}`.");
                return Err(Problem::with_detail(Code::Forbidden, detail));
            }
        }
        // The change is recorded in its own transaction, and that transaction checks all of this
        // again.
        let warrant = Warrant {
            operator: caller.operator.id,
            session: caller.claims.sid,
            role: P::NEEDED.map(|(_, least)| least.to_value()),
            second_factor: P::NEEDED.is_some() && gateway.operator_mfa_required,
        };
        let origin = Origin { warrant: Some(warrant), ..judged };
        Ok(Self { caller, client, origin, permission: PhantomData })
    }
}
