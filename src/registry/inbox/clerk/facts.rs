//! How two reports about the same object are merged. Merging is commutative, associative and
//! idempotent, so that neither the order nor the repetition of events matters.

use serde::{Deserialize, Serialize};

/// The latest time that a fact can have: the end of the year 9999.
pub const LATEST_MS: i64 = 253_402_300_799_999;

/// The age of a report, compared in the order of its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// When the object was last changed, in milliseconds.
    pub updated_ms: i64,
    /// When the report was sent, in milliseconds. It decides between two changes in the same
    /// millisecond.
    pub sent_ms: i64,
}

/// The facts of one event, those about related objects included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The fact about an organization.
    pub organization: Option<OrganizationFact>,
    /// The fact about a user.
    pub user: Option<UserFact>,
    /// The fact about a membership.
    pub membership: Option<MembershipFact>,
}

/// What a report says about an organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationFact {
    /// Clerk's id of the organization.
    pub id: String,
    /// The version of name and slug.
    pub version: Version,
    /// The display name. `None` if the report says nothing about name and slug.
    pub name: Option<String>,
    /// The slug as Clerk has it, not checked as one of our slugs.
    pub slug: Option<String>,
    /// The id of the user that created it; never changes.
    pub created_by: Option<String>,
    /// True if Clerk has reported its creation.
    pub created_seen: bool,
    /// True if it is deleted for good: ids are never used again.
    pub deleted: bool,
}

impl OrganizationFact {
    /// Merges both reports.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let rank =
            |fact: &Self| (fact.name.is_some(), fact.version, fact.name.clone(), fact.slug.clone());
        let (newer, older) =
            if rank(&self) >= rank(&other) { (self, other) } else { (other, self) };
        Self {
            created_by: newer.created_by.max(older.created_by),
            created_seen: newer.created_seen || older.created_seen,
            deleted: newer.deleted || older.deleted,
            ..newer
        }
    }
}

/// The personal data of a user. It is sealed in the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Profile {
    /// The primary address, as Clerk has it.
    pub email: Option<String>,
    /// True if Clerk has verified that the address belongs to the user.
    pub verified: bool,
    /// The given name, as Clerk has it.
    pub first_name: String,
    /// The family name, as Clerk has it.
    pub last_name: String,
    /// True if Clerk lets the user sign in nowhere. Profiles that were stored by an older version
    /// lack this value.
    #[serde(default)]
    pub banned: bool,
}

/// A profile with its reliability. Compared in the order of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profiled {
    /// True if it comes from an event about the user. Such a profile goes before one from a
    /// membership.
    pub authoritative: bool,
    /// The version of the profile.
    pub version: Version,
    /// The personal data.
    pub profile: Profile,
}

/// What a report says about a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserFact {
    /// Clerk's id of the user.
    pub id: String,
    /// `None` if only the id is known, and for a deleted user, whose data is no longer needed.
    pub profile: Option<Profiled>,
    /// True if the user is deleted for good: ids are never used again.
    pub deleted: bool,
}

impl UserFact {
    /// Merges both reports.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let deleted = self.deleted || other.deleted;
        let profile = self.profile.max(other.profile).filter(|_| !deleted);
        Self { id: self.id, profile, deleted }
    }
}

/// What a report says about one membership, from its beginning to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipFact {
    /// Clerk's id. A user who leaves and comes back gets a new one.
    pub id: String,
    /// The organization's id; never changes. The report of an end may lack it.
    pub organization: Option<String>,
    /// The user's id; never changes. The report of an end may lack it.
    pub user: Option<String>,
    /// The version of role and end.
    pub version: Version,
    /// The role as Clerk has it.
    pub role: String,
    /// True if the membership has ended.
    pub deleted: bool,
}

impl MembershipFact {
    /// Merges both reports. Of an end and another change in the same millisecond the end counts:
    /// Clerk's report of an end may have the time of the last change before it.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let rank = |fact: &Self| {
            (fact.version.updated_ms, fact.deleted, fact.version.sent_ms, fact.role.clone())
        };
        let (newer, older) =
            if rank(&self) >= rank(&other) { (self, other) } else { (other, self) };
        Self {
            organization: newer.organization.max(older.organization),
            user: newer.user.max(older.user),
            ..newer
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version() -> impl Strategy<Value = Version> {
        (0..3_i64, 0..3_i64).prop_map(|(updated_ms, sent_ms)| Version { updated_ms, sent_ms })
    }

    fn text() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a".to_owned(), "b".to_owned()])
    }

    fn organization() -> impl Strategy<Value = OrganizationFact> {
        let texts = (prop::option::of(text()), prop::option::of(text()), prop::option::of(text()));
        (version(), texts, any::<bool>(), any::<bool>()).prop_map(
            |(version, (name, slug, created_by), created_seen, deleted)| OrganizationFact {
                id: "org".to_owned(),
                version,
                name,
                slug,
                created_by,
                created_seen,
                deleted,
            },
        )
    }

    fn user() -> impl Strategy<Value = UserFact> {
        let profile =
            (any::<bool>(), version(), text()).prop_map(|(authoritative, version, name)| {
                Profiled {
                    authoritative,
                    version,
                    profile: Profile { first_name: name, ..Profile::default() },
                }
            });
        (prop::option::of(profile), any::<bool>()).prop_map(|(profile, deleted)| UserFact {
            id: "user".to_owned(),
            profile: profile.filter(|_| !deleted),
            deleted,
        })
    }

    fn membership() -> impl Strategy<Value = MembershipFact> {
        (version(), text(), any::<bool>(), any::<bool>()).prop_map(
            |(version, role, deleted, whole)| MembershipFact {
                id: "membership".to_owned(),
                organization: whole.then(|| "org".to_owned()),
                user: whole.then(|| "user".to_owned()),
                version,
                role,
                deleted,
            },
        )
    }

    macro_rules! merges_in_any_order {
        ($name:ident, $fact:ident, $type:ty) => {
            proptest! {
                #[test]
                fn $name(a in $fact(), b in $fact(), c in $fact()) {
                    let merge = |a: &$type, b: &$type| a.clone().merge(b.clone());
                    prop_assert_eq!(merge(&a, &a), a.clone());
                    prop_assert_eq!(merge(&a, &b), merge(&b, &a));
                    prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
                }
            }
        };
    }

    merges_in_any_order!(organizations_merge_in_any_order, organization, OrganizationFact);
    merges_in_any_order!(users_merge_in_any_order, user, UserFact);
    merges_in_any_order!(memberships_merge_in_any_order, membership, MembershipFact);

    #[test]
    fn a_late_beginning_does_not_undo_an_end_and_a_newer_one_does() {
        let at = |updated_ms, deleted| MembershipFact {
            version: Version { updated_ms, sent_ms: updated_ms },
            deleted,
            ..MembershipFact::default()
        };
        assert!(at(5, true).merge(at(1, false)).deleted);
        assert!(at(5, true).merge(at(5, false)).deleted);
        assert!(!at(5, true).merge(at(6, false)).deleted);
    }

    #[test]
    fn what_a_membership_shows_of_a_user_never_replaces_what_the_user_event_says() {
        let profiled = |authoritative, updated_ms, name: &str| UserFact {
            profile: Some(Profiled {
                authoritative,
                version: Version { updated_ms, sent_ms: 0 },
                profile: Profile { first_name: name.to_owned(), ..Profile::default() },
            }),
            ..UserFact::default()
        };
        let merged = profiled(true, 1, "right").merge(profiled(false, 9, "shown"));
        assert_eq!(merged.profile.unwrap().profile.first_name, "right");
    }
}
