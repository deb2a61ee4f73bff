//! Clerk's reports about its organizations, users and memberships, and what was reconciled from
//! them. Events are facts, not commands: they may come in any order and any number of times, and
//! the final record is the same.

mod callers;
mod closing;
mod facts;
mod recording;
mod reconciling;

pub use crate::registry::entities::clerk_organizations::Model as Organization;
pub use crate::registry::entities::clerk_staff::Model as ClerkStaff;
pub use callers::{ClerkCaller, find_caller, keeps};
pub use closing::{forget_tenant, settle_again};
pub use facts::{
    Facts, LATEST_MS, MembershipFact, OrganizationFact, Profile, Profiled, UserFact, Version,
};
pub use reconciling::{
    Member, claim_unsettled, find, forget_failed_run, link_tenant, lock, members_of, postpone,
    save_staff, settled, staff_of,
};
pub use recording::record;
