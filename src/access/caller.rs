//! Who calls: a member of staff by a token of theirs, a program by a key of its tenant, or an operator who has been let in
//! for a while. From the text that they show alone; what they may do, their tenant's database says.

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

/// Every key of a tenant's program begins so, that it is known for what it is wherever it turns up.
const KEY_PREFIX: &str = "nxk_";
const SECRET_BYTES: usize = 32;
const TAG_BYTES: usize = 32;

/// Somebody whose token or key is good.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A member of staff.
    Staff(Arc<Claims>),
    /// A program.
    Service(ServiceKey),
    /// An operator who acts in the tenant for a while: `sid` is the impersonation.
    Operator(Arc<Claims>),
}

impl Caller {
    /// The tenant in which they can act, and the only one.
    pub fn tenant(&self) -> TenantId {
        match self {
            Self::Staff(claims) | Self::Operator(claims) => claims.tid,
            Self::Service(key) => key.tenant,
        }
    }

    /// By which what they may do is remembered. A new token is not judged by what is remembered of an older one with
    /// another role.
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

/// The key of a tenant's program: the tenant, 32 random bytes, and a tag that nobody else can make, so that a made-up one
/// costs no look in anybody's database.
#[derive(Clone)]
pub struct ServiceKey {
    /// Whose.
    pub tenant: TenantId,
    /// By which its tenant knows it.
    pub hash: [u8; 32],
}

impl std::fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProgramKey of {}", self.tenant)
    }
}

impl ServiceKey {
    /// A new key, and its text, which is shown once.
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

    /// `None`: it does not look like a key at all. The tag is compared in constant time.
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
