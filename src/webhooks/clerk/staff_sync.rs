//! What has to change among a tenant's staff so that it says what Clerk says. Compares and decides; writes nothing.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::identifiers::EmailAddress;
use crate::registry::inbox::clerk::{Member, Profile, Version};
use crate::tenant_data::external_identities::{Changed, Known, NO_PASSWORD, withdrawn_address};
use crate::tenant_data::roles::OWNER;

/// The role at the tenant that a role at Clerk stands for. Whoever made the organization owns the tenant, until they are
/// made a plain member; a role that we do not know may look and nothing else.
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
    /// Clerk's id.
    pub user_id: String,
    /// Unique among the tenant's staff.
    pub email: EmailAddress,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Name of a role.
    pub role: &'static str,
}

/// Everything that has to change. Addresses are exchanged in two phases: every row whose address changes first gives
/// up the one it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rows to be written.
    pub additions: Vec<Addition>,
    /// Rows that become those of a user of Clerk.
    pub links: Vec<(Uuid, String)>,
    /// Rows to be changed.
    pub updates: Vec<(Uuid, Changed)>,
    /// Users who cannot be staff, because somebody who registered by themselves has their address, and Clerk has no
    /// proof that it is theirs.
    pub unproven: Vec<String>,
    /// Who is let in by nobody, and why.
    pub passed_over: PassedOver,
}

/// Members who are no staff.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Users of whom no email address is known that can be written to: accounts are found by their address.
    pub unreachable: Vec<String>,
    /// Users whom Clerk has banned.
    pub banned: Vec<String>,
}

impl PassedOver {
    /// Nobody.
    pub fn is_empty(&self) -> bool {
        self.unreachable.is_empty() && self.banned.is_empty()
    }

    /// How many of each, for people.
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

/// What Clerk says of one member.
struct Wanted<'a> {
    user_id: &'a str,
    role: &'static str,
    profile: Option<&'a Profile>,
    /// The address, unless another member has claimed it since.
    email: Option<EmailAddress>,
}

/// Compares members with staff. `created_by`: the user who made the organization.
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

/// Clerk gives an address to one user at a time; where two have it, the older news is outdated, and newer news of that
/// user is on its way.
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

/// Whoever had an account before Clerk was heard of keeps its password and its role.
fn of_member(
    known: &Known,
    member: &Wanted<'_>,
    email: Option<&EmailAddress>,
    keeps_address: bool,
) -> Changed {
    let is_clerks = known.staff.password_hash == NO_PASSWORD;
    let profile = member.profile.filter(|_| is_clerks);
    Changed {
        email: match email {
            Some(email) => Some(email.as_str().to_owned()),
            None if keeps_address => None,
            None => Some(withdrawn_address(known.staff.id)),
        },
        first_name: profile.map(|profile| profile.first_name.clone()),
        last_name: profile.map(|profile| profile.last_name.clone()),
        role: is_clerks.then_some(member.role),
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
    /// Is there anything to be written?
    pub fn is_empty(&self) -> bool {
        self.additions.is_empty() && self.links.is_empty() && self.updates.is_empty()
    }

    /// Takes an update, without what the row says already.
    fn update(&mut self, known: &Known, wanted: Changed) {
        let row = &known.staff;
        let changed = Changed {
            email: wanted.email.filter(|email| *email != row.email),
            first_name: wanted.first_name.filter(|name| *name != row.first_name),
            last_name: wanted.last_name.filter(|name| *name != row.last_name),
            role: wanted.role.filter(|role| *role != row.role),
            active: wanted.active.filter(|active| *active != (row.status == "active")),
        };
        if changed != Changed::default() {
            self.updates.push((row.id, changed));
        }
    }
}

#[cfg(test)]
mod tests;
