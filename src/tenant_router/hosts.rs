//! Hosts by which tenants are reached: how a host is read, and which tenant it belongs to.

use std::borrow::Cow;
use std::sync::Arc;

use idna::AsciiDenyList;

use super::directory::Directory;
use crate::identifiers::{DomainName, Slug, TenantId};
use crate::registry::RegistryError;
use crate::registry::tenants::Tenant;

/// Longer hosts, in bytes, are not valid names (RFC 1035), and IDNA processing would be wasted on
/// them.
const LONGEST_HOST: usize = 254;
/// The longest slug, in bytes.
const LONGEST_SLUG: usize = 40;

/// A host that may belong to a tenant, in the registry's form. A slug has no dot, a domain has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName<'a> {
    /// The part before `http.base_domain`, whether or not it is a valid slug.
    Slug(Cow<'a, str>),
    /// A domain outside `http.base_domain`: lower case, in its ASCII (IDNA) form, without a dot at
    /// the end.
    Domain(Cow<'a, str>),
}

impl<'a> HostName<'a> {
    /// Reads the host of a request, with or without a port. `None` if it can belong to no tenant:
    /// the base domain itself, a host below it that is reserved for the service, an IP address, a
    /// local network name without a dot, and any text that is not a valid name.
    pub fn read(host: &'a [u8], base: &DomainName) -> Option<Self> {
        let host = without_port(host);
        let name = (host.len() <= LONGEST_HOST)
            .then(|| idna::domain_to_ascii_cow(host, AsciiDenyList::EMPTY).ok())
            .flatten();
        // An invalid name can still lie below the base domain. Then it must not be treated as a
        // foreign host.
        let name =
            name.unwrap_or_else(|| Cow::Owned(String::from_utf8_lossy(host).to_ascii_lowercase()));
        let length = name.strip_suffix('.').map_or(name.len(), str::len);
        match name[..length].strip_suffix(base.as_str()) {
            Some("") => None,
            Some(before) if before.ends_with('.') => {
                let length = before.len() - 1;
                let is_ours = Slug::is_reserved(&name[..length]);
                (!is_ours).then(|| Self::Slug(beginning(name, length)))
            }
            _ if name[..length].contains('.') && DomainName::is_formed(&name[..length]) => {
                Some(Self::Domain(beginning(name, length)))
            }
            _ => None,
        }
    }

    /// A copy that does not borrow from the request.
    pub fn into_owned(self) -> HostName<'static> {
        match self {
            Self::Slug(text) => HostName::Slug(Cow::Owned(text.into_owned())),
            Self::Domain(text) => HostName::Domain(Cow::Owned(text.into_owned())),
        }
    }
}

/// A host without surrounding white space and without its port. An IPv6 address loses more than its
/// port, but it is not a valid name with or without that part.
fn without_port(host: &[u8]) -> &[u8] {
    let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
    host[..end].trim_ascii()
}

fn beginning(text: Cow<'_, str>, length: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..length]),
        Cow::Owned(mut text) => {
            text.truncate(length);
            Cow::Owned(text)
        }
    }
}

impl Directory {
    /// The tenant that a host belongs to, whatever the tenant's status. A domain counts only after
    /// it is verified.
    pub async fn tenant_of_host(
        self: &Arc<Self>,
        host: &HostName<'_>,
    ) -> Result<Option<TenantId>, RegistryError> {
        match host {
            HostName::Slug(slug) if !is_slug_shaped(slug) => Ok(None),
            HostName::Slug(name) | HostName::Domain(name) => self.holder_of_host(name).await,
        }
    }

    /// True if a host belongs to this tenant or to none. A slug is compared without a look-up: a
    /// slug that no tenant has still differs from this tenant's slug.
    pub async fn host_agrees(
        self: &Arc<Self>,
        host: &HostName<'_>,
        tenant: &Tenant,
    ) -> Result<bool, RegistryError> {
        match host {
            HostName::Slug(slug) => Ok(*slug == tenant.slug),
            HostName::Domain(_) => {
                let holder = self.tenant_of_host(host).await?;
                Ok(holder.is_none_or(|holder| holder == tenant.id))
            }
        }
    }
}

fn is_slug_shaped(text: &str) -> bool {
    (1..=LONGEST_SLUG).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn base() -> DomainName {
        "app.example.org".parse().unwrap()
    }

    fn slug(text: &str) -> Option<HostName<'_>> {
        Some(HostName::Slug(text.into()))
    }

    fn domain(text: &str) -> Option<HostName<'_>> {
        Some(HostName::Domain(text.into()))
    }

    #[rstest]
    #[case("grace.app.example.org", slug("grace"))]
    #[case("grace.app.example.org:8443", slug("grace"))]
    #[case("grace.app.example.org:", slug("grace"))]
    #[case("grace.app.example.org.", slug("grace"))]
    #[case("grace.app.example.org.:443", slug("grace"))]
    #[case("GRACE.App.Example.ORG", slug("grace"))]
    #[case(" grace.app.example.org ", slug("grace"))]
    #[case("ｇrace.app.example。org", slug("grace"))]
    #[case("a.b.app.example.org", slug("a.b"))]
    #[case(".app.example.org", slug(""))]
    #[case("api.app.example.org", None)]
    #[case("www.app.example.org", None)]
    #[case("x.api.app.example.org", slug("x.api"))]
    #[case("user@grace.app.example.org", slug("user@grace"))]
    #[case("%67race.app.example.org", slug("%67race"))]
    #[case("xn--\u{1}.app.example.org", slug("xn--\u{1}"))]
    #[case("grace.example.net", domain("grace.example.net"))]
    #[case("Grace.Example.Net.:80", domain("grace.example.net"))]
    #[case("münchen.example", domain("xn--mnchen-3ya.example"))]
    #[case("xn--mnchen-3ya.example", domain("xn--mnchen-3ya.example"))]
    #[case("myapp.example.org", domain("myapp.example.org"))]
    #[case("example.org", domain("example.org"))]
    #[case("app.example.org.evil.example", domain("app.example.org.evil.example"))]
    #[case("app.example.org", None)]
    #[case("APP.example.org.:8080", None)]
    #[case("", None)]
    #[case(":8080", None)]
    #[case(".", None)]
    #[case("..", None)]
    #[case("localhost", None)]
    #[case("gateway_1:8080", None)]
    #[case("a_b.example.net", None)]
    #[case("a..example.net", None)]
    #[case("127.0.0.1:8080", None)]
    #[case("10.1", None)]
    #[case("[::1]:8080", None)]
    #[case("::1", None)]
    #[case("[2001:db8::1]", None)]
    #[case("example.net/path", None)]
    #[case("grace.app.example.org..", None)]
    #[case("xn--a\u{80}.example.net", None)]
    fn a_host_is_read(#[case] given: &str, #[case] expected: Option<HostName<'_>>) {
        assert_eq!(HostName::read(given.as_bytes(), &base()), expected);
    }

    #[test]
    fn a_long_host_is_nobodys_unless_it_lies_below_our_own_domain() {
        let long = "x".repeat(300);
        assert_eq!(HostName::read(long.as_bytes(), &base()), None);
        let foreign = format!("{}example.net", "x.".repeat(150));
        assert_eq!(HostName::read(foreign.as_bytes(), &base()), None);
        let below = format!("{long}.app.example.org");
        assert_eq!(HostName::read(below.as_bytes(), &base()), slug(&long));
    }

    #[test]
    fn bytes_that_are_no_text_are_nobodys_unless_they_lie_below_our_own_domain() {
        assert_eq!(HostName::read(b"\xFF.example.net", &base()), None);
        let below = HostName::read(b"\xFF.app.example.org", &base());
        assert_eq!(below, slug("\u{FFFD}"));
    }

    #[test]
    fn a_plain_host_is_read_without_a_copy() {
        for host in [&b"grace.app.example.org:443"[..], b"grace.example.net"] {
            let name = HostName::read(host, &base()).unwrap();
            let (HostName::Slug(text) | HostName::Domain(text)) = name;
            assert!(matches!(text, Cow::Borrowed(_)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            HostName::read(&bytes, &base());
        }

        #[test]
        fn a_domain_is_always_one_that_could_be_registered(host in "\\PC{0,40}\\.[a-z]{2,5}\\.?(:[0-9]{0,5})?") {
            if let Some(HostName::Domain(name)) = HostName::read(host.as_bytes(), &base()) {
                let parsed: DomainName = name.parse().unwrap();
                prop_assert_eq!(parsed.as_str(), &name);
                prop_assert!(name.contains('.') && !name.ends_with(".app.example.org"));
            }
        }

        #[test]
        fn a_slug_is_found_however_its_host_is_written(
            given in "[a-z0-9-]{3,40}",
            upper in any::<bool>(),
            dot in "\\.?",
            port in "(:[0-9]{0,5})?",
        ) {
            let host = format!("{given}.app.example.org{dot}{port}");
            let host = if upper { host.to_ascii_uppercase() } else { host };
            prop_assert_eq!(HostName::read(host.as_bytes(), &base()), slug(&given));
        }

        #[test]
        fn what_lies_below_our_own_domain_is_never_looked_up_as_a_domain(before in "\\PC{0,300}") {
            let host = format!("{before}.app.example.org");
            let read = HostName::read(host.as_bytes(), &base());
            // A colon ends the host before it.
            if !before.contains(':') {
                prop_assert!(matches!(read, Some(HostName::Slug(_))), "{:?}", read);
            }
        }
    }
}
