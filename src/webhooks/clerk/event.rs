//! The facts in a verified body of Clerk. Reads the members that the gateway uses and ignores all
//! others, because the provider adds members at any time. Shapes:
//! <https://clerk.com/docs/guides/development/webhooks/overview>.

use serde_json::Value;

use crate::plain_text::{is_control, is_invisible};
use crate::registry::inbox::clerk::{
    Facts, LATEST_MS, MembershipFact, OrganizationFact, Profile, Profiled, UserFact, Version,
};

/// Longest id, in characters. Longer ones are refused, because two different ids could be equal
/// after a cut.
pub const MAX_ID_CHARS: usize = 255;
/// Longest name and role, in characters. Longer ones are cut.
pub const MAX_TEXT_CHARS: usize = 200;
/// Longest email address, in characters. Email has no longer ones.
const MAX_ADDRESS_CHARS: usize = 320;
/// Email addresses of a user that are read. It is far above any real number.
const MAX_ADDRESSES: usize = 1000;

/// An event of Clerk, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An event of a type that the gateway uses.
    Known {
        /// `type` of the event.
        event_type: &'static str,
        /// The facts in the event.
        facts: Box<Facts>,
    },
    /// An event of another type, which is acknowledged and ignored.
    Other,
}

/// Why a body with a valid signature is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MalformedEvent {
    /// The body is not JSON, or not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// The event has no type, or no object with data.
    #[error("the event has no `type`, or no `data`")]
    NoType,
    /// The id of the subject is missing or malformed.
    #[error("the event does not say what it is about: an id is missing, or no id")]
    NoId,
}

impl MalformedEvent {
    /// The reason as a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotAnObject => "not_an_object",
            Self::NoType => "no_type",
            Self::NoId => "no_id",
        }
    }
}

/// Parses a body whose signature was verified.
pub fn parse(body: &[u8]) -> Result<Event, MalformedEvent> {
    let event: Value = serde_json::from_slice(body).map_err(|_| MalformedEvent::NotAnObject)?;
    if !event.is_object() {
        return Err(MalformedEvent::NotAnObject);
    }
    let kind = event["type"].as_str().ok_or(MalformedEvent::NoType)?;
    let data = &event["data"];
    let Some(read) = reader(kind) else { return Ok(Event::Other) };
    if !data.is_object() {
        return Err(MalformedEvent::NoType);
    }
    let (event_type, read) = read;
    let facts = read(data, milliseconds(&event["timestamp"]).unwrap_or(0))?;
    Ok(Event::Known { event_type, facts: Box::new(facts) })
}

/// Makes facts of `data` and the time of sending in milliseconds.
type Reader = fn(&Value, i64) -> Result<Facts, MalformedEvent>;

/// The table of event types that the gateway uses.
fn reader(kind: &str) -> Option<(&'static str, Reader)> {
    const READERS: &[(&str, Reader)] = &[
        ("organization.created", |data, sent| organization_event(data, sent, true)),
        ("organization.updated", |data, sent| organization_event(data, sent, false)),
        ("organization.deleted", |data, _| organization_deleted(data)),
        ("user.created", user_event),
        ("user.updated", user_event),
        ("user.deleted", |data, _| user_deleted(data)),
        ("organizationMembership.created", |data, sent| membership_event(data, sent, false)),
        ("organizationMembership.updated", |data, sent| membership_event(data, sent, false)),
        ("organizationMembership.deleted", |data, sent| membership_event(data, sent, true)),
    ];
    READERS.iter().find(|(known, _)| *known == kind).copied()
}

fn organization_event(data: &Value, sent: i64, created: bool) -> Result<Facts, MalformedEvent> {
    let fact = organization(data, sent).ok_or(MalformedEvent::NoId)?;
    let fact = OrganizationFact { created_seen: created, ..fact };
    Ok(Facts { organization: Some(fact), ..Facts::default() })
}

fn organization_deleted(data: &Value) -> Result<Facts, MalformedEvent> {
    let id = id(&data["id"]).ok_or(MalformedEvent::NoId)?;
    let fact = OrganizationFact { id, deleted: true, ..OrganizationFact::default() };
    Ok(Facts { organization: Some(fact), ..Facts::default() })
}

fn user_event(data: &Value, sent: i64) -> Result<Facts, MalformedEvent> {
    let id = id(&data["id"]).ok_or(MalformedEvent::NoId)?;
    let (email, verified) = primary_address(data);
    let profile = Profile {
        email,
        verified,
        first_name: text(&data["first_name"]).unwrap_or_default(),
        last_name: text(&data["last_name"]).unwrap_or_default(),
        banned: data["banned"].as_bool().unwrap_or(false),
    };
    let profiled = Profiled { authoritative: true, version: version(data, sent), profile };
    let fact = UserFact { id, profile: Some(profiled), deleted: false };
    Ok(Facts { user: Some(fact), ..Facts::default() })
}

fn user_deleted(data: &Value) -> Result<Facts, MalformedEvent> {
    let id = id(&data["id"]).ok_or(MalformedEvent::NoId)?;
    let fact = UserFact { id, profile: None, deleted: true };
    Ok(Facts { user: Some(fact), ..Facts::default() })
}

/// A membership, with the organization and the user in it. The end of a membership may have only
/// its id.
fn membership_event(data: &Value, sent: i64, deleted: bool) -> Result<Facts, MalformedEvent> {
    let organization = organization(&data["organization"], sent);
    let mut version = version(data, sent);
    if deleted {
        // An end has the time of the change before it. An end without any time counts as the last
        // change.
        version.updated_ms = version.updated_ms.max(sent);
        if version.updated_ms == 0 {
            version.updated_ms = LATEST_MS;
        }
    }
    let user = shown_user(&data["public_user_data"], version);
    let organization_id = organization.as_ref().map(|organization| organization.id.clone());
    let user_id = user.as_ref().map(|user| user.id.clone());
    // A membership without an id is identified by organization and user.
    let joined = || Some(format!("{}/{}", organization_id.as_ref()?, user_id.as_ref()?));
    let id = id(&data["id"]).or_else(joined).ok_or(MalformedEvent::NoId)?;
    if !deleted && (organization.is_none() || user.is_none()) {
        return Err(MalformedEvent::NoId);
    }
    let membership = MembershipFact {
        id,
        organization: organization_id,
        user: user_id,
        version,
        role: role(data),
        deleted,
    };
    Ok(Facts { organization, user, membership: Some(membership) })
}

/// The role of a membership. Instances define roles of their own, and may give one of them to the
/// creator of an organization. But the creator's role always manages members
/// (<https://clerk.com/docs/guides/organizations/control-access/roles-and-permissions>). So a role
/// without that permission counts as a plain member's, whatever its name is, and the demotion of a
/// creator shows.
fn role(data: &Value) -> String {
    let role = text(&data["role"]).unwrap_or_default();
    let manages = |permission: &Value| permission.as_str() == Some("org:sys_memberships:manage");
    let is_plain = data["permissions"].as_array().is_some_and(|all| !all.iter().any(manages));
    let is_admin = role.strip_prefix("org:").unwrap_or(&role) == "admin";
    if is_plain && !is_admin { "org:member".to_owned() } else { role }
}

/// An organization, of its own event or inside a membership.
fn organization(data: &Value, sent: i64) -> Option<OrganizationFact> {
    Some(OrganizationFact {
        id: id(&data["id"])?,
        version: version(data, sent),
        name: text(&data["name"]),
        slug: text(&data["slug"]),
        created_by: id(&data["created_by"]),
        created_seen: false,
        deleted: false,
    })
}

/// A user as a membership shows them. The identifier for the login is not always an address, and is
/// never a proven one.
fn shown_user(data: &Value, version: Version) -> Option<UserFact> {
    let profile = Profile {
        email: address(&data["identifier"]),
        verified: false,
        first_name: text(&data["first_name"]).unwrap_or_default(),
        last_name: text(&data["last_name"]).unwrap_or_default(),
        banned: false,
    };
    // An empty profile states nothing.
    let says_something = profile != Profile::default();
    let profiled = Profiled { authoritative: false, version, profile };
    Some(UserFact {
        id: id(&data["user_id"])?,
        profile: says_something.then_some(profiled),
        deleted: false,
    })
}

/// The user's primary address, and whether Clerk has verified it.
fn primary_address(data: &Value) -> (Option<String>, bool) {
    let Some(primary) = data["primary_email_address_id"].as_str() else { return (None, false) };
    let addresses = data["email_addresses"].as_array();
    let found = addresses
        .into_iter()
        .flatten()
        .take(MAX_ADDRESSES)
        .find(|address| address["id"].as_str() == Some(primary));
    let Some(address) = found else { return (None, false) };
    let verified = address["verification"]["status"].as_str() == Some("verified");
    match self::address(&address["email_address"]) {
        Some(email) => (Some(email), verified),
        None => (None, false),
    }
}

fn version(data: &Value, sent: i64) -> Version {
    let updated_ms = milliseconds(&data["updated_at"]).unwrap_or(sent);
    Version { updated_ms, sent_ms: sent }
}

/// A time in milliseconds, if it is between 1970 and the end of the year 9999.
fn milliseconds(value: &Value) -> Option<i64> {
    value.as_i64().filter(|moment| (0..=LATEST_MS).contains(moment))
}

fn id(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let usable = (1..=MAX_ID_CHARS).contains(&text.chars().count())
        && !text.chars().any(|character| character.is_control() || character.is_whitespace());
    usable.then(|| text.to_owned())
}

/// A whole address or none: a cut address could belong to another person.
fn address(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    let whole = text.contains('@')
        && text.chars().count() <= MAX_ADDRESS_CHARS
        && !text.chars().any(char::is_control);
    whole.then(|| text.to_owned())
}

/// A text for people: trimmed, and without characters that do not belong in a name. `None` if
/// nothing is left.
fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    let plain = text.chars().filter(|c| !is_control(*c) && !is_invisible(*c)).take(MAX_TEXT_CHARS);
    let plain: String = plain.collect();
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests;
