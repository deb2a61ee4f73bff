//! The changes that make a tenant's staff agree with Clerk. This module compares and decides; it
//! writes nothing.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::identifiers::EmailAddress;
use crate::registry::inbox::clerk::{Member, Profile, Version};
use crate::tenant_data::external_identities::{Changed, Known, NO_PASSWORD, withdrawn_address};
use crate::tenant_data::roles::OWNER;
use crate::tenant_data::staff::StaffStatus;

/// The tenant's role for a role at Clerk. The creator of the organization owns the tenant, until
/// Clerk makes them a plain member. An unknown role may only read.
pub fn role_of(clerk_role: &str, made_the_organization: bool) -> &'static str {
    match clerk_role.strip_prefix("org:").unwrap_or(clerk_role) {
        "member" => "viewer",
        _ if made_the_organization => OWNER,
        "admin" => "admin",
        _ => "viewer",
    }
}

/// A new member of staff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Clerk's id of the user.
    pub user_id: String,
    /// Email address, unique among the tenant's staff.
    pub email: EmailAddress,
    /// Given name; empty if Clerk does not know it.
    pub first_name: String,
    /// Family name; empty if Clerk does not know it.
    pub last_name: String,
    /// Name of a built-in role.
    pub role: &'static str,
}

/// All changes. Addresses are exchanged in two phases: every row whose address changes first gives
/// up its old address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Members of staff to add.
    pub additions: Vec<Addition>,
    /// Existing rows that are linked to a user of Clerk, by the user's id.
    pub links: Vec<(Uuid, String)>,
    /// Existing rows with their new values.
    pub updates: Vec<(Uuid, Changed)>,
    /// Ids of users who cannot be staff: an account that registered without Clerk has their
    /// address, and Clerk has not verified that it is theirs.
    pub unproven: Vec<String>,
    /// Members who are left out for another reason.
    pub passed_over: PassedOver,
}

/// Members of the organization who are not staff, by user id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Users without a known, usable email address. Accounts are found by address.
    pub unreachable: Vec<String>,
    /// Users whom Clerk has banned.
    pub banned: Vec<String>,
}

impl PassedOver {
    /// True if no member is left out.
    pub fn is_empty(&self) -> bool {
        self.unreachable.is_empty() && self.banned.is_empty()
    }

    /// The number of members for each reason, for people.
    pub fn told(&self) -> String {
        let parts = [
            (self.unreachable.len(), "without an email address that is known"),
            (self.banned.len(), "banned at Clerk"),
        ];
        let told = parts.into_iter().filter(|(count, _)| *count > 0);
        let told =
            told.map(|(count, what)| format!("{count} member(s) {what} are not on the staff"));
        told.collect::<Vec<_>>().join("; ")
    }
}

/// Clerk's facts about one member.
struct Wanted<'a> {
    user_id: &'a str,
    role: &'static str,
    profile: Option<&'a Profile>,
    /// The address, unless another member has claimed it since.
    email: Option<EmailAddress>,
}

/// Compares members with staff. `created_by`: the user who created the organization.
pub fn compare(members: &[Member], created_by: Option<&str>, staff: &[Known]) -> Changes {
    let is_banned =
        |member: &&Member| member.profile.as_ref().is_some_and(|known| known.profile.banned);
    let (banned, members): (Vec<&Member>, Vec<&Member>) = members.iter().partition(is_banned);
    let wanted = wanted(&members, created_by);
    let claimed: HashSet<&str> =
        wanted.iter().filter_map(|w| w.email.as_ref().map(EmailAddress::as_str)).collect();
    let by_user: HashMap<&str, &Known> =
        staff.iter().filter_map(|known| Some((known.external_id.as_deref()?, known))).collect();
    let by_own_address: HashMap<&str, &Known> = staff
        .iter()
        .filter(|known| known.external_id.is_none())
        .map(|known| (known.staff.email.as_str(), known))
        .collect();

    let mut changes = Changes::default();
    changes.passed_over.banned = banned.iter().map(|member| member.user_id.clone()).collect();
    for member in &wanted {
        let holder = member.email.as_ref().and_then(|e| by_own_address.get(e.as_str()).copied());
        match (by_user.get(member.user_id).copied(), holder, &member.email) {
            (Some(known), holder, email) => {
                if holder.is_some() {
                    changes.unproven.push(member.user_id.to_owned());
                }
                let email = email.as_ref().filter(|_| holder.is_none());
                let keeps = !claimed.contains(known.staff.email.as_str());
                changes.update(known, of_member(known, member, email, keeps));
            }
            (None, Some(holder), _) if member.profile.is_some_and(|profile| profile.verified) => {
                changes.links.push((holder.staff.id, member.user_id.to_owned()));
                changes.update(holder, Changed { active: Some(true), ..Changed::default() });
            }
            (None, Some(_), _) => changes.unproven.push(member.user_id.to_owned()),
            (None, None, Some(email)) => changes.additions.push(addition(member, email)),
            (None, None, None) => changes.passed_over.unreachable.push(member.user_id.to_owned()),
        }
    }
    let present: HashSet<&str> = wanted.iter().map(|member| member.user_id).collect();
    let gone = by_user.iter().filter(|(user, _)| !present.contains(*user)).map(|(_, known)| *known);
    for known in gone {
        let is_claimed = claimed.contains(known.staff.email.as_str());
        let email = is_claimed.then(|| withdrawn_address(known.staff.id));
        changes.update(known, Changed { active: Some(false), email, ..Changed::default() });
    }
    changes.updates.sort_by_key(|(id, _)| *id);
    changes
}

/// Clerk gives an address to one user at a time. If two users have it, the older facts are
/// outdated, and newer facts of that user are on their way.
fn wanted<'a>(members: &[&'a Member], created_by: Option<&str>) -> Vec<Wanted<'a>> {
    let address = |member: &Member| -> Option<EmailAddress> {
        member.profile.as_ref()?.profile.email.as_deref()?.parse().ok()
    };
    let mut newest: HashMap<EmailAddress, (bool, Version, &str)> = HashMap::new();
    for &member in members {
        let (Some(email), Some(profiled)) = (address(member), &member.profile) else { continue };
        let claim = (profiled.authoritative, profiled.version, member.user_id.as_str());
        let claims = newest.entry(email).or_insert(claim);
        *claims = claim.max(*claims);
    }
    let holds = |member: &Member, email: &EmailAddress| {
        newest.get(email).is_some_and(|(_, _, user)| *user == member.user_id)
    };
    members
        .iter()
        .map(|&member| Wanted {
            user_id: &member.user_id,
            role: role_of(&member.role, created_by == Some(member.user_id.as_str())),
            profile: member.profile.as_ref().map(|profiled| &profiled.profile),
            email: address(member).filter(|email| holds(member, email)),
        })
        .collect()
}

/// New values for a known member. An account that is older than its link to Clerk keeps its
/// password and its role.
fn of_member(
    known: &Known,
    member: &Wanted<'_>,
    email: Option<&EmailAddress>,
    keeps_address: bool,
) -> Changed {
    let is_issued_by_clerk = known.staff.password_hash == NO_PASSWORD;
    let profile = member.profile.filter(|_| is_issued_by_clerk);
    Changed {
        email: match email {
            Some(email) => Some(email.as_str().to_owned()),
            None if keeps_address => None,
            None => Some(withdrawn_address(known.staff.id)),
        },
        first_name: profile.map(|profile| profile.first_name.clone()),
        last_name: profile.map(|profile| profile.last_name.clone()),
        role: is_issued_by_clerk.then_some(member.role),
        active: Some(true),
    }
}

fn addition(member: &Wanted<'_>, email: &EmailAddress) -> Addition {
    let names = member.profile.cloned().unwrap_or_default();
    Addition {
        user_id: member.user_id.to_owned(),
        email: email.clone(),
        first_name: names.first_name,
        last_name: names.last_name,
        role: member.role,
    }
}

impl Changes {
    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.additions.is_empty() && self.links.is_empty() && self.updates.is_empty()
    }

    /// Adds an update, without the values that the row has already.
    fn update(&mut self, known: &Known, wanted: Changed) {
        let row = &known.staff;
        let changed = Changed {
            email: wanted.email.filter(|email| *email != row.email),
            first_name: wanted.first_name.filter(|name| *name != row.first_name),
            last_name: wanted.last_name.filter(|name| *name != row.last_name),
            role: wanted.role.filter(|role| *role != row.role),
            active: wanted.active.filter(|active| *active != (row.status == StaffStatus::Active)),
        };
        if changed != Changed::default() {
            self.updates.push((row.id, changed));
        }
    }
}

#[cfg(test)]
mod tests;
