//! Claims of a Clerk session token, version 1 or 2, and their validation:
//! <https://clerk.com/docs/guides/sessions/session-tokens>.

use chrono::TimeDelta;
use serde::Deserialize;

use crate::access::TokenError;

/// Tolerated difference between Clerk's clock and the clock of this machine, in seconds.
const SKEW: i64 = 5;

/// The claims that Narthex reads. Other claims are ignored.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SessionClaims {
    pub iss: String,
    /// Clerk's user id.
    pub sub: String,
    /// Clerk's session id.
    pub sid: String,
    pub exp: i64,
    pub iat: i64,
    nbf: Option<i64>,
    /// Origin of the application that the token was made for.
    azp: Option<String>,
    /// `active`, or `pending` while a task of the sign-in is open.
    sts: Option<String>,
    /// Another party that acts as the user (RFC 8693, section 4.1): an impersonation at Clerk.
    act: Option<serde_json::Value>,
    /// The active organization, in tokens of version 2.
    o: Option<ActiveOrganization>,
    /// The id of the active organization, in tokens of version 1.
    org_id: Option<String>,
    /// Minutes since the user last verified the first and the second factor, counted when the token
    /// was made. -1: never, or no such factor is set up.
    fva: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
struct ActiveOrganization {
    id: String,
}

impl SessionClaims {
    /// The id of the organization that the user works in. `None` if the claims of version 1 and
    /// version 2 name different organizations.
    pub fn organization(&self) -> Option<&str> {
        match (self.o.as_ref().map(|o| o.id.as_str()), self.org_id.as_deref()) {
            (Some(new), Some(old)) if new != old => None,
            (new, old) => new.or(old),
        }
    }

    /// Time until which the user's last verification counts as proof, in seconds since 1970. If a
    /// second factor is set up, it must have been verified as recently as the first. `None` if the
    /// proof has expired or the claim is missing or unreadable.
    pub fn proven_until(&self, counts_for: TimeDelta) -> Option<i64> {
        let ages: [i64; 2] = serde_json::from_value(self.fva.clone()?).ok()?;
        let age = ages[0].max(ages[1]).checked_mul(60)?;
        let left = counts_for.num_seconds().checked_sub(age)?;
        (ages[0] >= 0 && left > 0).then(|| self.iat.saturating_add(left))
    }
}

/// Expected issuer and allowed authorized parties of a token.
#[derive(Clone, Debug)]
pub(super) struct ClaimsValidator {
    pub issuer: String,
    pub parties: Vec<String>,
}

impl ClaimsValidator {
    /// Validates the claims of a token whose signature is good. Returns the time until which the
    /// token is valid, in seconds since 1970.
    pub fn accept(&self, claims: &SessionClaims, now: i64) -> Result<i64, TokenError> {
        let until = claims.exp.saturating_add(SKEW);
        let begins = claims.nbf.unwrap_or(claims.iat).max(claims.iat);
        let in_list = |party: &String| self.parties.contains(party);
        let counts = begins <= now.saturating_add(SKEW)
            && claims.iss == self.issuer
            && claims.azp.as_ref().is_some_and(in_list)
            && claims.sts.as_deref().is_none_or(|status| status == "active");
        match counts {
            false => Err(TokenError::Invalid),
            true if claims.act.is_some() => Err(TokenError::Impersonated),
            true if until <= now => Err(TokenError::Expired),
            true => Ok(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::just_now(json!([0, -1]), Some(1300))]
    #[case::a_while_ago(json!([4, -1]), Some(1060))]
    #[case::with_both(json!([1, 3]), Some(1120))]
    #[case::too_long_ago(json!([5, -1]), None)]
    #[case::second_too_long_ago(json!([0, 5]), None)]
    #[case::never(json!([-1, -1]), None)]
    #[case::never_the_first(json!([-1, 0]), None)]
    #[case::endless(json!([i64::MAX, -1]), None)]
    #[case::one(json!([0]), None)]
    #[case::text(json!("0"), None)]
    #[case::absent(Value::Null, None)]
    fn a_proof_is_as_old_as_the_older_of_its_factors(
        #[case] fva: Value,
        #[case] expected: Option<i64>,
    ) {
        let claims = json!({"iss": "", "sub": "", "sid": "", "exp": 1060, "iat": 1000, "fva": fva});
        let claims: SessionClaims = serde_json::from_value(claims).unwrap();
        assert_eq!(claims.proven_until(TimeDelta::minutes(5)), expected);
    }
}
