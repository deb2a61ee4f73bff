use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::registry::inbox::clerk::Profiled;
use crate::tenant_data::external_identities::is_withdrawn;
use crate::tenant_data::staff::{StaffMember, StaffStatus};

#[rstest]
#[case("org:admin", false, "admin")]
#[case("admin", false, "admin")]
#[case("org:member", false, "viewer")]
#[case("org:owner", false, "viewer")]
#[case("", false, "viewer")]
#[case("org:admin", true, "owner")]
#[case("org:founder", true, "owner")]
#[case("org:member", true, "viewer")]
fn roles_of_clerk_stand_for_ours(
    #[case] role: &str,
    #[case] made_it: bool,
    #[case] expected: &str,
) {
    assert_eq!(role_of(role, made_it), expected);
}

fn member(user: &str, email: &str, updated_ms: i64) -> Member {
    let profile = Profile {
        email: Some(email.to_owned()),
        verified: true,
        first_name: user.to_owned(),
        last_name: String::new(),
        banned: false,
    };
    let version = Version { updated_ms, sent_ms: 0 };
    Member {
        user_id: user.to_owned(),
        role: "org:member".to_owned(),
        profile: Some(Profiled { authoritative: true, version, profile }),
    }
}

fn row(number: u128, email: &str, user: Option<&str>) -> Known {
    let moment = chrono::DateTime::UNIX_EPOCH;
    let staff = StaffMember {
        id: Uuid::from_u128(number),
        email: email.to_owned(),
        password_hash: if user.is_some() { NO_PASSWORD } else { "$argon2id$" }.to_owned(),
        first_name: user.unwrap_or_default().to_owned(),
        last_name: String::new(),
        role: "viewer".to_owned(),
        status: StaffStatus::Active,
        mfa_enabled: false,
        email_verified_at: None,
        password_set_at: None,
        last_login_at: None,
        created_at: moment,
        updated_at: moment,
    };
    Known { staff, external_id: user.map(str::to_owned) }
}

/// The rows after the changes.
fn applied(changes: &Changes, rows: &[Known]) -> Vec<Known> {
    let mut rows = rows.to_vec();
    for (id, changed) in &changes.updates {
        let staff = &mut rows.iter_mut().find(|known| known.staff.id == *id).unwrap().staff;
        let changed = changed.clone();
        staff.email = changed.email.unwrap_or_else(|| staff.email.clone());
        staff.first_name = changed.first_name.unwrap_or_else(|| staff.first_name.clone());
        staff.last_name = changed.last_name.unwrap_or_else(|| staff.last_name.clone());
        staff.role = changed.role.map_or_else(|| staff.role.clone(), str::to_owned);
        if let Some(active) = changed.active {
            staff.status = if active { StaffStatus::Active } else { StaffStatus::Disabled };
        }
    }
    for (id, user) in &changes.links {
        let known = rows.iter_mut().find(|known| known.staff.id == *id).unwrap();
        known.external_id = Some(user.clone());
    }
    for (number, new) in (1000..).zip(&changes.additions) {
        let mut added = row(number, new.email.as_str(), Some(&new.user_id));
        added.staff.role = new.role.to_owned();
        added.staff.first_name.clone_from(&new.first_name);
        rows.push(added);
    }
    rows
}

#[test]
fn what_agrees_is_left_alone() {
    let members = [member("ada", "ada@example.test", 1)];
    let rows = [row(1, "ada@example.test", Some("ada"))];
    assert_eq!(compare(&members, None, &rows), Changes::default());
}

#[test]
fn an_address_that_two_have_belongs_to_whoever_claimed_it_last() {
    let members = [member("ada", "x@example.test", 2), member("bob", "x@example.test", 1)];
    let rows = [row(1, "a@example.test", Some("ada")), row(2, "x@example.test", Some("bob"))];
    let after = applied(&compare(&members, None, &rows), &rows);
    assert_eq!(after[0].staff.email, "x@example.test");
    assert!(is_withdrawn(&after[1].staff.email) && after[1].staff.status == StaffStatus::Active);
    // A member who is not staff yet waits for newer facts.
    let changes = compare(&members, None, &rows[..1]);
    assert_eq!(changes.additions, []);
}

#[test]
fn an_account_that_is_not_clerks_is_linked_for_a_proven_address_alone() {
    let rows = [row(1, "ada@example.test", None)];
    let mut members = [member("ada", "ada@example.test", 1)];
    let changes = compare(&members, Some("ada"), &rows);
    assert_eq!(changes.links, [(Uuid::from_u128(1), "ada".to_owned())]);
    assert_eq!(changes.updates, [], "it keeps its password, its names and its role");
    members[0].profile.as_mut().unwrap().profile.verified = false;
    let changes = compare(&members, Some("ada"), &rows);
    assert_eq!(changes, Changes { unproven: vec!["ada".to_owned()], ..Changes::default() });
}

#[test]
fn a_member_who_moves_to_the_address_of_somebody_elses_account_keeps_their_own() {
    let members = [member("ada", "taken@example.test", 1)];
    let rows = [row(1, "ada@example.test", Some("ada")), row(2, "taken@example.test", None)];
    let changes = compare(&members, None, &rows);
    assert_eq!(changes, Changes { unproven: vec!["ada".to_owned()], ..Changes::default() });
}

#[test]
fn a_member_of_whom_nothing_is_known_is_no_staff_yet() {
    let mut unknown = member("ada", "", 1);
    let passed_over = PassedOver { unreachable: vec!["ada".to_owned()], banned: Vec::new() };
    let expected = Changes { passed_over, ..Changes::default() };
    assert_eq!(compare(&[unknown.clone()], None, &[]), expected);
    unknown.profile = None;
    assert_eq!(compare(&[unknown], None, &[]), expected);
}

fn people() -> impl Strategy<Value = Vec<Member>> {
    let addresses = prop::sample::select(vec!["w@x.test", "x@x.test", "y@x.test", "no address"]);
    let person = (addresses, 0..3_i64, any::<bool>(), any::<bool>());
    prop::collection::vec(person, 0..5).prop_map(|people| {
        let named = (0..).zip(people);
        named
            .filter(|(_, (_, _, _, is_member))| *is_member)
            .map(|(number, (email, updated, verified, _))| {
                let mut member = member(&format!("user{number}"), email, updated);
                member.profile.as_mut().unwrap().profile.verified = verified;
                member
            })
            .collect()
    })
}

proptest! {
    /// From any state that an earlier reconciliation left, and with an account without Clerk beside
    /// it.
    #[test]
    fn settling_ends_in_one_state_with_every_address_held_once(
        before in people(), members in people(), own in any::<bool>(),
    ) {
        let mut rows = if own { vec![row(1, "w@x.test", None)] } else { Vec::new() };
        rows = applied(&compare(&before, Some("user1"), &rows), &rows);
        for (number, known) in (1..).zip(&mut rows) {
            known.staff.id = Uuid::from_u128(number);
        }
        let changes = compare(&members, Some("user1"), &rows);
        let after = applied(&changes, &rows);
        let addresses: HashSet<_> = after.iter().map(|known| &known.staff.email).collect();
        prop_assert_eq!(addresses.len(), after.len(), "an address is held twice");
        let users: Vec<_> = after.iter().filter_map(|known| known.external_id.as_ref()).collect();
        prop_assert_eq!(users.iter().collect::<HashSet<_>>().len(), users.len());
        for known in after.iter().filter(|known| known.external_id.is_some()) {
            let is_member = members.iter().any(|m| Some(&m.user_id) == known.external_id.as_ref());
            prop_assert_eq!(known.staff.status == StaffStatus::Active, is_member);
        }
        // Reconciling again finds nothing to do.
        let again = compare(&members, Some("user1"), &after);
        prop_assert_eq!(Changes { unproven: Vec::new(), passed_over: PassedOver::default(), ..again }, Changes::default());
    }
}
