//! Events of providers: verified on the bytes received, parsed, and applied to the tenant they
//! belong to.

pub mod clerk;
pub mod telnyx;
