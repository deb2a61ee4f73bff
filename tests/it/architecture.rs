//! Holds the code against the map of `src/lib.rs`: a room uses only rooms below it, and files stay small.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms that make up the foundation: they may use each other, and nothing above.
const FOUNDATION_BEGINS_WITH: &str = "audit";
const LONGEST_FILE: usize = 500;

struct Source {
    /// Relative to `src`.
    path: String,
    /// The first part of the path; `main` and `lib` for the two files at the top.
    room: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let (inner, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
        folders.extend(inner);
        for file in files.into_iter().filter(|file| file.extension() == Some("rs".as_ref())) {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let room = path.split(['/', '.']).next().unwrap().to_owned();
            sources.push(Source { path, room, text: fs::read_to_string(&file).unwrap() });
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// The rooms from the street door down, as `src/lib.rs` lists them.
fn rooms(sources: &[Source]) -> Vec<String> {
    let map = sources.iter().find(|source| source.room == "lib").unwrap();
    map.text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// The code without its comments.
fn code(text: &str) -> String {
    let code = text.lines().map(|line| line.split("//").next().unwrap());
    code.collect::<Vec<_>>().join("\n")
}

/// The rooms that follow a `crate::`, also in `crate::{a, b::c}`.
fn used_rooms(code: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let first_name = |text: &str| text.chars().take_while(|c| is_name(*c)).collect::<String>();
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            used.insert(first_name(rest));
            continue;
        };
        let mut depth = 0;
        let mut at_start = true;
        for (at, character) in list.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_start = true,
                c if is_name(c) && at_start => {
                    used.insert(first_name(&list[at..]));
                    at_start = false;
                }
                _ => {}
            }
        }
    }
    used
}

/// Does the code name this library?
fn names_library(code: &str, library: &str) -> bool {
    code.match_indices(library).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + library.len()..].chars().next();
        let inside_a_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !inside_a_name(before)
            && !inside_a_name(after)
            && code[at + library.len()..].starts_with("::")
    })
}

#[test]
fn every_room_is_on_the_map_and_the_map_has_no_other() {
    let sources = sources();
    let found: BTreeSet<_> = sources.iter().map(|source| source.room.clone()).collect();
    let on_map: BTreeSet<_> = rooms(&sources).into_iter().collect();
    let expected = on_map.iter().cloned().chain(["lib".to_owned(), "main".to_owned()]).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let sources = sources();
    let rooms = rooms(&sources);
    let level = |room: &str| rooms.iter().position(|known| known == room);
    let foundation = level(FOUNDATION_BEGINS_WITH).expect("the foundation is on the map");
    let mut violations = Vec::new();
    let mut uses = 0;
    for source in sources.iter().filter(|source| !matches!(&*source.room, "lib" | "main")) {
        // A room that is missing on the map may use nothing.
        let own = level(&source.room).unwrap_or(usize::MAX);
        for used in used_rooms(&code(&source.text)) {
            uses += 1;
            let allowed = level(&used)
                .is_some_and(|used| used >= own || (used >= foundation && own >= foundation));
            if !allowed {
                violations.push(format!("src/{} uses {used}", source.path));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(uses > 100, "the reader of paths has found only {uses}");
}

#[test]
fn libraries_of_the_street_stay_at_the_street() {
    let sources = sources();
    let mut violations = Vec::new();
    for (library, rooms) in [
        ("axum", &["http"][..]),
        ("utoipa_axum", &["http"]),
        ("hyper_util", &["http"]),
        ("clap", &["cli", "main"]),
        ("bb8", &["postgres"]),
        ("sea_orm_migration", &["postgres", "provisioning"]),
    ] {
        let users: Vec<_> =
            sources.iter().filter(|s| names_library(&code(&s.text), library)).collect();
        assert!(!users.is_empty(), "nobody uses {library}: is it read right?");
        let strangers = users.iter().filter(|source| !rooms.contains(&&*source.room));
        violations.extend(strangers.map(|s| format!("src/{} uses {library}", s.path)));
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn no_file_is_too_long() {
    let sources = sources();
    let lines = |source: &Source| source.text.lines().count();
    let long = sources.iter().filter(|source| lines(source) > LONGEST_FILE);
    let long: Vec<_> = long.map(|s| format!("src/{}: {} lines", s.path, lines(s))).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn paths_are_read_in_every_form() {
    let code = "use crate::app::App; use crate::{registry, sealing::{Sealer, Key}, telemetry};
                fn f() -> crate::clock::Clock {}";
    let expected = ["app", "clock", "registry", "sealing", "telemetry"].map(str::to_owned);
    assert_eq!(used_rooms(code), expected.into());
}

/// What commands print is made harmless in one place.
#[test]
fn commands_print_through_one_file() {
    let printing = sources().into_iter().filter(|source| {
        source.room == "cli"
            && source.path != "cli/print.rs"
            && [" println!(", " print!(", "Table::new"]
                .iter()
                .any(|call| source.text.contains(call))
    });
    let printing: Vec<String> = printing.map(|source| source.path).collect();
    assert!(printing.is_empty(), "{printing:?}");
}
