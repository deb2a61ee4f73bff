//! What a session token says, in either version, and whether it counts:
//! <https://clerk.com/docs/guides/sessions/session-tokens>.

use serde::Deserialize;

use crate::authentication::TokenError;

/// The clocks of Clerk and of this machine may be so far apart, in seconds.
const SKEW: i64 = 5;

/// What is read of a token. Members that are not read are left alone.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SessionClaims {
    pub iss: String,
    /// The user.
    pub sub: String,
    /// The session.
    pub sid: String,
    pub exp: i64,
    pub iat: i64,
    nbf: Option<i64>,
    /// The origin of the application that it was made for.
    azp: Option<String>,
    /// `active`, or `pending` while something is left to be done at sign-in.
    sts: Option<String>,
    /// Version 2.
    o: Option<ActiveOrganization>,
    /// Version 1.
    org_id: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct ActiveOrganization {
    id: String,
}

impl SessionClaims {
    /// The organization that the user works in. None where the two versions contradict each other.
    pub fn organization(&self) -> Option<&str> {
        match (self.o.as_ref().map(|o| o.id.as_str()), self.org_id.as_deref()) {
            (Some(new), Some(old)) if new != old => None,
            (new, old) => new.or(old),
        }
    }
}

/// What tokens have to say.
#[derive(Clone, Debug)]
pub(super) struct Judge {
    pub issuer: String,
    pub parties: Vec<String>,
}

impl Judge {
    /// Does a token count that was signed by the right key? Returns until when, in seconds since 1970.
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
            true if until <= now => Err(TokenError::Expired),
            true => Ok(until),
        }
    }
}
