//! The operators of the installation: signing in, what each role may do, and what is written down of it.

mod impersonation;
mod login;
mod roles;
pub mod second_factor;
mod tenants;
mod tokens;

pub use roles::Things;
