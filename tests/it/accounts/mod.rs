//! Signing in and out, sessions, passwords, second factors, addresses and invitations.

mod addresses;
mod api_keys;
mod audit;
mod cookies;
mod flood;
pub mod login;
mod logout;
mod mfa;
mod passwords;
mod refresh;
mod sessions;
mod staff;
mod step_up;
mod tenants;
mod verification;

pub use login::{essence, join, keys as keys_of};
pub use mfa::enroll;
use serde_json::Value;

use crate::support::Staff;

/// The same person in another session.
pub fn in_session(staff: &Staff, session: &Value) -> Staff {
    let text = |name: &str| session[name].as_str().unwrap().to_owned();
    let mut staff = staff.clone();
    staff.token = text("access_token");
    staff.refresh_token = text("refresh_token");
    staff
}
