//! Identification of callers: access tokens and their signing keys, API keys, tokens of an identity
//! provider, and revocations. This module knows neither passwords nor email.

mod authenticator;
mod caller;
mod clerk;
mod error;
mod opaque_token;
mod operator_tokens;
mod principal;
mod revocations;
mod ring_provider;
mod signing_keys;
mod step_up;
mod tokens;

pub use crate::audit::Client;
pub use authenticator::{Authenticator, OperatorCaller};
pub use caller::{Caller, ServiceKey};
pub(crate) use error::from_access_causes;
pub use error::{AccessError, TokenError};
pub(crate) use opaque_token::OpaqueToken;
pub use operator_tokens::OperatorClaims;
pub use principal::Principal;
pub use signing_keys::{KeyRing, PublicJwk, SigningKeys};
pub use tokens::{Claims, MAX_IMPERSONATION, PROOF_LIFE, Subject, Tokens};
