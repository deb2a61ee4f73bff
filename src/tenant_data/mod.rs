//! What every tenant's own database holds, whatever the product: staff, roles, sessions.

pub mod entities;
pub mod external_identities;
pub mod roles;
pub mod sessions;
pub mod staff;
