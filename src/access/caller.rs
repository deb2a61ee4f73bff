//! Callers: a member of staff with a token, a service client with an API key, or an operator in an
//! impersonation session. The token or the key identifies the caller; the tenant's database says
//! what the caller may do.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use uuid::Uuid;

use super::error::TokenError;
use super::tokens::Claims;
use crate::identifiers::TenantId;
use crate::registry::Registry;
use crate::registry::RegistryError;

/// Prefix of every API key of a service client, so that a key is recognized wherever it turns up.
const KEY_PREFIX: &str = "nxk_";
const SECRET_BYTES: usize = 32;
const TAG_BYTES: usize = 32;

/// A caller whose token or key is good.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A member of staff, with the claims of the access token.
    Staff(Arc<Claims>),
    /// A service client, with its API key.
    Service(ServiceKey),
    /// An operator in an impersonation session; `sid` is the id of that session.
    Operator(Arc<Claims>),
}

impl Caller {
    /// The only tenant that the caller may act in.
    pub fn tenant(&self) -> TenantId {
        match self {
            Self::Staff(claims) | Self::Operator(claims) => claims.tid,
            Self::Service(key) => key.tenant,
        }
    }

    /// Cache key for the caller's rights: tenant, subject, role. The role is part of the key, so
    /// that a new token with another role does not use the cached rights of an older token.
    pub fn fingerprint(&self) -> (TenantId, Uuid, String) {
        match self {
            Self::Staff(claims) => (claims.tid, claims.sub, claims.role.clone()),
            Self::Operator(claims) => (claims.tid, claims.sid, "operator".to_owned()),
            Self::Service(key) => {
                let mut id = [0; 16];
                id.copy_from_slice(&key.hash[..16]);
                (key.tenant, Uuid::from_bytes(id), "program".to_owned())
            }
        }
    }
}

/// API key of a service client: the tenant's id, 32 random bytes, and an HMAC tag of both. The tag
/// makes it possible to refuse a forged key without a query.
#[derive(Clone)]
pub struct ServiceKey {
    /// The tenant that issued the key.
    pub tenant: TenantId,
    /// SHA-256 of the key's text. The tenant's database stores only this hash.
    pub hash: [u8; 32],
}

impl std::fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProgramKey of {}", self.tenant)
    }
}

impl ServiceKey {
    /// Creates a key. Returns the key and its text, which is shown once.
    pub fn generate(
        registry: &Registry,
        tenant: TenantId,
    ) -> Result<(Self, String), RegistryError> {
        let secret: [u8; SECRET_BYTES] = registry.sealer().random_bytes()?;
        let body = [tenant.0.as_bytes().as_slice(), &secret].concat();
        let bytes = [body.as_slice(), &registry.hasher().tag(&body)].concat();
        let text = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        Ok((Self { tenant, hash: hash(&text) }, text))
    }

    /// Returns `None` if the text does not look like a key. The tag is compared in constant time.
    pub(super) fn read(registry: &Registry, text: &str) -> Option<Result<Self, TokenError>> {
        let encoded = text.strip_prefix(KEY_PREFIX)?;
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
            let (body, shown) = bytes.split_at_checked(bytes.len().checked_sub(TAG_BYTES)?)?;
            let (tenant, secret) = body.split_at_checked(16)?;
            let is_ours = registry.hasher().has_tagged(body, shown);
            let tenant = TenantId(Uuid::from_slice(tenant).ok()?);
            (is_ours && secret.len() == SECRET_BYTES).then(|| Self { tenant, hash: hash(text) })
        };
        Some(read().ok_or(TokenError::Invalid))
    }
}

fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}
