//! The first product: churches and the people they write to. Every function takes a connection to one tenant's
//! database and knows nothing of other tenants, of routing or of HTTP.

pub mod branches;
pub mod conversations;
pub mod delivery;
pub mod entities;
pub mod inbound;
pub mod members;
