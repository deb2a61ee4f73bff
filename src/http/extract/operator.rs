//! An operator who calls: token, session, audit log, second factor, permission, in this order. Every call is written down
//! before it is judged, so that what was refused stands there too.

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

impl<P: OperatorPermission> FromRequestParts<Gateway> for Operator<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let client = client(parts, gateway);
        // Operators have no cookies.
        let token = bearer(&parts.headers)?.ok_or(Code::InvalidToken)?;
        let claims = gateway.access.verify_operator(token).await?;
        // Who was dismissed has a token for some hours, and must not keep the registry busy with it.
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
        // What they do is written down in the transaction that does it, and all this is asked again there.
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
