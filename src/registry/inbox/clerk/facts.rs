//! How two reports of the same thing become one. Merging is commutative, associative and idempotent, so that neither
//! order nor repetition of events matters.

use serde::{Deserialize, Serialize};

/// The latest moment that a fact can bear: the end of the year 9999.
pub const LATEST_MS: i64 = 253_402_300_799_999;

/// How new a report is. Compared in the order of its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// When the thing was changed last, in milliseconds.
    pub updated_ms: i64,
    /// When the report was sent, in milliseconds: decides where two changes fell into one millisecond.
    pub sent_ms: i64,
}

/// Facts of one event, those that came along with its main thing included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Of an organization.
    pub organization: Option<OrganizationFact>,
    /// Of a user.
    pub user: Option<UserFact>,
    /// Of a membership.
    pub membership: Option<MembershipFact>,
}

/// Of an organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationFact {
    /// Clerk's id.
    pub id: String,
    /// Of name and slug.
    pub version: Version,
    /// For people. Where absent, the report says nothing of name and slug.
    pub name: Option<String>,
    /// As Clerk has it; no slug of ours yet.
    pub slug: Option<String>,
    /// User id of whoever made it; never changes.
    pub created_by: Option<String>,
    /// Clerk has said that it was created.
    pub created_seen: bool,
    /// It is gone for good: ids are never used again.
    pub deleted: bool,
}

impl OrganizationFact {
    /// Both reports as one.
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

/// Whom a user is. Sealed where it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Profile {
    /// The primary address, as Clerk has it.
    pub email: Option<String>,
    /// Clerk has proof that the address is theirs.
    pub verified: bool,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Clerk lets them in nowhere any more. Profiles that were kept before this was read do not say it.
    #[serde(default)]
    pub banned: bool,
}

/// A profile, and how far it can be believed. Compared in the order of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profiled {
    /// From an event of the user themselves; goes before what a membership showed of them.
    pub authoritative: bool,
    /// Of the profile.
    pub version: Version,
    /// The profile itself.
    pub profile: Profile,
}

/// Of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserFact {
    /// Clerk's id.
    pub id: String,
    /// Absent where nothing is known but the id, and of somebody who is gone: nobody has to know any more.
    pub profile: Option<Profiled>,
    /// They are gone for good: ids are never used again.
    pub deleted: bool,
}

impl UserFact {
    /// Both reports as one.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let deleted = self.deleted || other.deleted;
        let profile = self.profile.max(other.profile).filter(|_| !deleted);
        Self { id: self.id, profile, deleted }
    }
}

/// Of one membership, from its beginning to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipFact {
    /// Clerk's id. Whoever leaves and comes back gets a new one.
    pub id: String,
    /// The organization's id; never changes. The report of an end may lack it.
    pub organization: Option<String>,
    /// The user's id; never changes. The report of an end may lack it.
    pub user: Option<String>,
    /// Of role and end.
    pub version: Version,
    /// As Clerk has it.
    pub role: String,
    /// It has ended.
    pub deleted: bool,
}

impl MembershipFact {
    /// Both reports as one. Of an end and another change in one millisecond the end counts: Clerk's report of an end
    /// may bear the time of the last change before it.
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
