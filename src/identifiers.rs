//! Identifiers and addresses. They are parsed once, when they enter the process, and are valid
//! afterwards.

use std::str::FromStr;

use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

mod id;
mod phone_number;

pub use id::{RunId, ServerId, TenantId, new_id, unguessable_id};
pub use phone_number::{LineNumber, PhoneNumber, canonical_address, searched_digits};

/// Parses the database value of an enum. The error message names all values.
pub fn word<E>(text: &str) -> Result<E, String>
where
    E: sea_orm::ActiveEnum<Value = String> + sea_orm::Iterable,
{
    E::try_from_value(&text.to_owned()).map_err(|_| {
        let all: Vec<String> = E::iter().map(|member| member.to_value()).collect();
        format!("must be one of {}", all.join(", "))
    })
}

/// Reason why a text is not a valid address, number or name. The message is safe to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Not an email address that mail can be sent to.
    #[error("is not a valid email address")]
    Email,
    /// Not a telephone number in international format.
    #[error("is not a valid phone number in E.164 format, such as +13125550101")]
    PhoneNumber,
    /// Neither a telephone number in international format nor a short code.
    #[error(
        "is neither a valid phone number in E.164 format, such as +13125550101, nor a short code of 5 or 6 digits"
    )]
    LineNumber,
    /// Not a valid slug, or a reserved one.
    #[error(
        "must be 3 to 40 lower-case letters, digits or hyphens, must begin and end with a letter or digit, and must not be reserved"
    )]
    Slug,
    /// Not a time zone name of the IANA database.
    #[error("is not a time zone of the IANA database, such as America/Chicago")]
    Timezone,
    /// Not a domain name.
    #[error("is not a domain name such as app.example.org, without scheme, port or path")]
    DomainName,
}

/// In bytes. Longer texts are refused before normalization, whose cost grows faster than the
/// length. A text that is short enough after normalization is shorter than this before it.
const LONGEST_UNREAD: usize = 2048;

/// A normalized email address: trimmed, NFC, lower case, the domain in ASCII (IDNA) form. Plus-tags
/// are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// The normalized text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmailAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text.len() > LONGEST_UNREAD {
            return Err(InvalidAddress::Email);
        }
        let folded: String = text.trim().nfc().collect::<String>().to_lowercase();
        let (local, domain) = folded.rsplit_once('@').ok_or(InvalidAddress::Email)?;
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| InvalidAddress::Email)?;
        let normalised = format!("{local}@{domain}");
        let options = email_address::Options::default()
            .with_required_tld()
            .without_domain_literal()
            .without_display_text();
        // RFC 5321 allows 254 octets in a path. Quoted local parts are legal, but personal
        // mailboxes do not have them.
        let plain = !normalised.contains(['"', '\\']) && !normalised.chars().any(char::is_control);
        if normalised.len() > 254
            || !plain
            || email_address::EmailAddress::parse_with_options(&normalised, options).is_err()
        {
            return Err(InvalidAddress::Email);
        }
        Ok(Self(normalised))
    }
}

/// Slugs that a tenant may not take, because the installation's own hosts and paths use them.
const RESERVED_SLUGS: &[&str] = &[
    "account",
    "accounts",
    "admin",
    "administrator",
    "api",
    "app",
    "assets",
    "auth",
    "billing",
    "blog",
    "cdn",
    "console",
    "dashboard",
    "demo",
    "dev",
    "docs",
    "email",
    "ftp",
    "health",
    "help",
    "host",
    "imap",
    "internal",
    "login",
    "mail",
    "metrics",
    "narthex",
    "ns1",
    "ns2",
    "operator",
    "operators",
    "pop",
    "public",
    "register",
    "registry",
    "root",
    "security",
    "signup",
    "smtp",
    "staging",
    "static",
    "status",
    "support",
    "system",
    "tenant",
    "tenants",
    "test",
    "webhook",
    "webhooks",
    "www",
];

/// Names below a domain to which programs send passwords or configuration automatically, or that
/// mean the local machine. A new tenant cannot take one. A tenant that already has one keeps it and
/// its host.
const RISKY_SLUGS: &[&str] = &[
    "abuse",
    "autoconfig",
    "autodiscover",
    "broadcasthost",
    "certmaster",
    "dns",
    "example",
    "gateway",
    "hostmaster",
    "imaps",
    "info",
    "invalid",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-localhost",
    "ip6-loopback",
    "isatap",
    "kerberos",
    "ldap",
    "local",
    "localdomain",
    "localhost",
    "mail1",
    "mail2",
    "mailer-daemon",
    "mta-sts",
    "mx1",
    "mx2",
    "no-reply",
    "nobody",
    "noreply",
    "ns0",
    "ns3",
    "ns4",
    "ntp",
    "openpgpkey",
    "pop3",
    "pop3s",
    "postmaster",
    "proxy",
    "relay",
    "sip",
    "smtps",
    "ssladmin",
    "ssladministrator",
    "sslwebmaster",
    "sysadmin",
    "time",
    "usenet",
    "uucp",
    "vpn",
    "webmail",
    "webmaster",
    "wpad",
    "www1",
    "www2",
];

/// A tenant's name in hosts and URLs: 3 to 40 characters of `[a-z0-9-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slug(String);

impl Slug {
    /// The slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a slug from an organization's name: letters without marks, digits, single hyphens.
    /// `None` if nothing usable is left (a name in another script, or a reserved one).
    pub fn derive(name: &str) -> Option<Self> {
        let mut text = String::new();
        for c in name.nfkd().flat_map(char::to_lowercase) {
            if c.is_ascii_alphanumeric() {
                text.push(c);
            } else if !unicode_normalization::char::is_combining_mark(c)
                && c != '\''
                && c != '’'
                && !text.ends_with('-')
                && !text.is_empty()
            {
                text.push('-');
            }
        }
        text.truncate(32);
        text.trim_matches('-').parse().ok()
    }

    /// This slug with a short random suffix, for use when the plain slug is taken.
    pub fn with_suffix(&self) -> Self {
        let random = Uuid::new_v4().simple().to_string();
        let base = self.0[..self.0.len().min(32)].trim_end_matches('-');
        Self(format!("{base}-{}", &random[..6]))
    }
}

impl Slug {
    /// True if the slug is reserved for the installation's own hosts and paths.
    pub fn is_reserved(text: &str) -> bool {
        RESERVED_SLUGS.contains(&text)
    }

    /// True if the slug could be taken for another name. `xn--` begins a name in another script
    /// (RFC 5891).
    fn is_risky(text: &str) -> bool {
        RISKY_SLUGS.contains(&text) || text.starts_with("xn--")
    }
}

impl FromStr for Slug {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let valid = (3..=40).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !Self::is_reserved(text)
            && !Self::is_risky(text);
        valid.then(|| Self(text.to_owned())).ok_or(InvalidAddress::Slug)
    }
}

/// Longest domain name as text, without the dot at its end (RFC 1035, section 2.3.4).
const LONGEST_DOMAIN_NAME: usize = 253;

/// A domain name: lower case, ASCII (IDNA) form, without a dot at its end. IP addresses are
/// refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct DomainName(String);

impl DomainName {
    /// The domain name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if this text, which must be normalized already, has the form of a domain name.
    pub fn is_formed(text: &str) -> bool {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A host that ends in a number is an IP address in some notation (WHATWG URL, section 3.5).
        let top = text.rsplit('.').next().unwrap_or_default();
        text.len() <= LONGEST_DOMAIN_NAME
            && text.split('.').all(label)
            && !top.bytes().all(|b| b.is_ascii_digit())
    }
}

impl FromStr for DomainName {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text.len() > LONGEST_UNREAD {
            return Err(InvalidAddress::DomainName);
        }
        let name = idna::domain_to_ascii(text.trim()).map_err(|_| InvalidAddress::DomainName)?;
        let name = name.strip_suffix('.').unwrap_or(&name);
        let formed = Self::is_formed(name);
        formed.then(|| Self(name.to_owned())).ok_or(InvalidAddress::DomainName)
    }
}

impl TryFrom<String> for DomainName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error| format!("`{text}` {error}"))
    }
}

/// A time zone of the IANA database, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timezone(&'static str);

impl Timezone {
    /// Coordinated universal time, the default of tenants that state no zone.
    pub const UTC: Self = Self("UTC");

    /// Name of the zone in the IANA database.
    pub fn as_str(&self) -> &'static str {
        self.0
    }
}

impl FromStr for Timezone {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        text.parse::<chrono_tz::Tz>()
            .map(|zone| Self(zone.name()))
            .map_err(|_| InvalidAddress::Timezone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("tenant_01a1fee3b880702ea5cd7bf09b4d4b19", true)]
    #[case("tenant_01A1FEE3B880702EA5CD7BF09B4D4B19", false)]
    #[case("tenant_01a1fee3-b880-702e-a5cd-7bf09b4d4b19", false)]
    #[case("tenant_01a1fee3b880702ea5cd7bf09b4d4b1", false)]
    #[case("01a1fee3b880702ea5cd7bf09b4d4b19", false)]
    fn a_database_is_a_tenants_by_its_whole_name(#[case] name: &str, #[case] is_one: bool) {
        let found = TenantId::of_database(name).map(|id| id.database_name());
        assert_eq!(found.as_deref(), is_one.then_some(name));
    }

    #[rstest]
    #[case("  Ada.Lovelace+news@Example.ORG ", "ada.lovelace+news@example.org")]
    #[case("josé@münchen.example", "josé@xn--mnchen-3ya.example")]
    // "e" with a combining accent and the composed letter give the same address.
    #[case("jose\u{301}@example.org", "jos\u{e9}@example.org")]
    fn emails_are_normalised(#[case] given: &str, #[case] expected: &str) {
        assert_eq!(given.parse::<EmailAddress>().unwrap().as_str(), expected);
    }

    #[rstest]
    #[case("")]
    #[case("@example.org")]
    #[case("ada@")]
    #[case("ada@localhost")]
    #[case("ada@[127.0.0.1]")]
    #[case("ada lovelace@example.org")]
    #[case("Ada <ada@example.org>")]
    #[case("\"ada\"@example.org")]
    #[case("ada\u{0}@example.org")]
    #[case("ada@exa mple.org")]
    #[case("a@b@example.org")]
    #[case(&format!("ada@{}.example", "ü".repeat(100_000)))]
    fn what_is_no_email_is_refused(#[case] given: &str) {
        assert_eq!(given.parse::<EmailAddress>(), Err(InvalidAddress::Email));
    }

    #[rstest]
    #[case("First Baptist Church", Some("first-baptist-church"))]
    #[case("  St. Paul's -- Köln ", Some("st-pauls-koln"))]
    #[case("東京教会", None)]
    #[case("Admin", None)]
    fn slugs_come_from_names(#[case] name: &str, #[case] expected: Option<&str>) {
        assert_eq!(Slug::derive(name).as_ref().map(Slug::as_str), expected);
    }

    #[rstest]
    #[case("app.example.org", "app.example.org")]
    #[case(" App.Example.ORG. ", "app.example.org")]
    #[case("münchen.example", "xn--mnchen-3ya.example")]
    #[case("localhost", "localhost")]
    fn domain_names_are_normalised(#[case] given: &str, #[case] expected: &str) {
        assert_eq!(given.parse::<DomainName>().unwrap().as_str(), expected);
    }

    #[rstest]
    #[case("")]
    #[case(".")]
    #[case(".example.org")]
    #[case("app..example.org")]
    #[case("example.org..")]
    #[case("https://example.org")]
    #[case("example.org:8080")]
    #[case("example.org/path")]
    #[case("*.example.org")]
    #[case("-a.example.org")]
    #[case("a_b.example.org")]
    #[case("127.0.0.1")]
    #[case("[::1]")]
    #[case("::1")]
    #[case(&"a".repeat(64))]
    #[case(&"a.".repeat(127).replace("a.a.", "aa.aaa."))]
    fn what_is_no_domain_name_is_refused(#[case] given: &str) {
        assert_eq!(given.parse::<DomainName>(), Err(InvalidAddress::DomainName));
    }

    #[test]
    fn a_suffixed_slug_is_a_slug() {
        let long = "a".repeat(40).parse::<Slug>().unwrap();
        let suffixed = long.with_suffix();
        assert_ne!(suffixed, long);
        assert_eq!(suffixed.as_str().parse::<Slug>().unwrap(), suffixed);
    }
}
