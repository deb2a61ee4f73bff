//! Clerk.

pub mod event;
pub mod sample;
pub mod signature;
