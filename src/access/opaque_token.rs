//! Opaque tokens: refresh tokens and the tokens in emails. A token contains the tenant's id, which
//! leads to the tenant's database, and 32 random bytes. Only the SHA-256 of a token is stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use uuid::Uuid;

use crate::identifiers::TenantId;
use crate::sealing::{LookupHasher, Sealer, SealingError};

const TENANT_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

pub(crate) struct OpaqueToken {
    pub tenant: TenantId,
    secret: [u8; SECRET_BYTES],
}

impl OpaqueToken {
    pub(crate) fn generate(tenant: TenantId, sealer: &Sealer) -> Result<Self, SealingError> {
        Ok(Self { tenant, secret: sealer.random_bytes()? })
    }

    /// The token that replaces this one. It is derived, so it needs no storage and a repeated
    /// refresh gets the same token.
    pub(crate) fn successor(&self, hasher: &LookupHasher) -> Self {
        Self { tenant: self.tenant, secret: hasher.successor(&self.bytes()) }
    }

    /// Returns `None` if the text is not in the format of these tokens.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (tenant, secret) = bytes.split_at_checked(TENANT_BYTES)?;
        Some(Self {
            tenant: TenantId(Uuid::from_slice(tenant).ok()?),
            secret: secret.try_into().ok()?,
        })
    }

    pub(crate) fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes())
    }

    /// The hash covers the tenant's id: a token that is altered to name another tenant is unknown
    /// in that tenant.
    pub(crate) fn hash(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, &self.bytes()).as_ref().to_vec()
    }

    fn bytes(&self) -> Vec<u8> {
        [self.tenant.0.as_bytes().as_slice(), &self.secret].concat()
    }
}
