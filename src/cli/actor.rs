//! The name under which a run's history and the audit log record a command.

use nix::unistd::{User, getuid};

use crate::audit::{Actor, Origin};

/// Characters; the history allows no longer name.
const LONGEST: usize = 64;

/// `cli:` and the operating system's name of the user who runs the command; behind sudo, of the
/// user who called sudo.
pub(super) fn actor() -> String {
    let id = getuid();
    let known =
        || User::from_uid(id).ok().flatten().map_or_else(|| id.to_string(), |user| user.name);
    let caller = std::env::var("SUDO_USER").ok().filter(|name| id.is_root() && !name.is_empty());
    named(&caller.unwrap_or_else(known))
}

/// The same name as a request context, for the audit log.
pub(super) fn origin() -> Origin {
    Actor::command(&actor()).into()
}

fn named(user: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    let name: String = user.chars().filter(is_plain).take(LONGEST).collect();
    format!("cli:{}", if name.is_empty() { "unknown" } else { &name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("ada", "cli:ada")]
    #[case("ada.l@EXAMPLE-1_x", "cli:ada.l@EXAMPLE-1_x")]
    #[case("a\nb\u{1b}[2J", "cli:ab2J")]
    #[case("", "cli:unknown")]
    fn a_name_in_the_history_is_plain(#[case] user: &str, #[case] expected: &str) {
        assert_eq!(named(user), expected);
    }

    #[test]
    fn a_name_in_the_history_is_bounded() {
        assert_eq!(named(&"x".repeat(1000)).len(), "cli:".len() + LONGEST);
    }
}
