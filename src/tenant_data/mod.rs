//! What every tenant's own database holds, whatever the product: staff, roles, sessions, and what
//! a new tenant begins with.

pub mod entities;
pub mod external_identities;
pub mod one_time_tokens;
pub mod preseed;
pub mod roles;
pub mod sessions;
pub mod staff;
