//! Holds the code against the map of `src/lib.rs`: a module uses only modules below it, files inside a module form no cycle, no object
//! grows over many files, and files stay small.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The modules of the foundation may use each other, and nothing above.
const FOUNDATION_BEGINS_WITH: &str = "audit";
const LONGEST_FILE: usize = 500;
/// An object whose `impl` stands in more files has become too large to know one's place in.
const MOST_FILES_OF_AN_IMPL: usize = 4;

struct Source {
    /// Relative to `src`.
    path: String,
    /// The first part of the path; `main` and `lib` for the two files at the top.
    module: String,
    text: String,
}

impl Source {
    /// The module path of the file, without `crate`.
    fn module_path(&self) -> Vec<String> {
        let path = self.path.strip_suffix(".rs").unwrap();
        let path = path.strip_suffix("/mod").unwrap_or(path);
        let parts = path.split('/').map(str::to_owned);
        parts.filter(|part| !matches!(&**part, "lib" | "main")).collect()
    }
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
            let module = path.split(['/', '.']).next().unwrap().to_owned();
            sources.push(Source { path, module, text: fs::read_to_string(&file).unwrap() });
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// The modules from the command line down, as `src/lib.rs` lists them.
fn modules(sources: &[Source]) -> Vec<String> {
    let map = sources.iter().find(|source| source.module == "lib").unwrap();
    map.text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// What a file imports and names, read from its syntax. Unit tests do not count.
#[derive(Default)]
struct Names {
    /// Paths as they are written, and whether it is a `pub use`: it opens a door and uses nothing.
    paths: Vec<(Vec<String>, bool)>,
    /// What each imported name stands for.
    imports: BTreeMap<String, Vec<String>>,
    /// Types with an inherent `impl` in this file.
    impls: BTreeSet<String>,
}

impl Names {
    fn of(text: &str) -> Self {
        let mut names = Self::default();
        names.visit_file(&syn::parse_file(text).unwrap());
        names
    }

    fn add_tree(&mut self, tree: &syn::UseTree, before: &[String], is_public: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        let (path, name) = match tree {
            syn::UseTree::Path(path) => {
                return self.add_tree(&path.tree, &with(&path.ident), is_public);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(tree, before, is_public);
                }
                return;
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                (before.to_vec(), before.last().cloned().unwrap_or_default())
            }
            syn::UseTree::Name(name) => (with(&name.ident), name.ident.to_string()),
            syn::UseTree::Rename(name) => (with(&name.ident), name.rename.to_string()),
            syn::UseTree::Glob(_) => (before.to_vec(), "*".to_owned()),
        };
        self.paths.push((path.clone(), is_public));
        self.imports.insert(name, path);
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.add_tree(&item.tree, &[], is_public);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_none()
            && let syn::Type::Path(path) = &*item.self_ty
        {
            let name = path.path.segments.last().unwrap();
            self.impls.insert(name.ident.to_string());
        }
        visit::visit_item_impl(self, item);
    }

    /// `pub(super)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string());
        self.paths.push((segments.collect(), false));
        visit::visit_path(self, path);
    }
}

/// All files with what they name, by module path.
struct Files(BTreeMap<Vec<String>, (String, Names)>);

impl Files {
    fn of(sources: &[Source]) -> Self {
        let named = |s: &Source| (s.module_path(), (s.path.clone(), Names::of(&s.text)));
        Self(sources.iter().filter(|s| !matches!(&*s.module, "lib" | "main")).map(named).collect())
    }

    /// The path without `crate`, `self` and `super`. `None`: it leads to a library, or to something of the file itself.
    fn absolute(&self, path: &[String], own: &[String]) -> Option<Vec<String>> {
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([own, &path[1..]].concat()),
            "super" => self.absolute_above(path, own),
            // A single name can be that of a variable.
            first if path.len() > 1 => {
                let inside = [own, &[first.to_owned()]].concat();
                self.0.contains_key(&inside).then(|| [own, path].concat())
            }
            _ => None,
        }
    }

    fn absolute_above(&self, path: &[String], own: &[String]) -> Option<Vec<String>> {
        let above = path.iter().take_while(|part| *part == "super").count();
        let parent = own.get(..own.len().checked_sub(above)?)?;
        Some([parent, &path[above..]].concat())
    }

    /// The file in which that is written to which an absolute path leads, through the doors of modules.
    fn written_in(&self, path: &[String], doors: usize) -> Option<Vec<String>> {
        let module =
            (1..=path.len()).rev().map(|n| &path[..n]).find(|p| self.0.contains_key(*p))?;
        let Some(item) = path.get(module.len()) else { return Some(module.to_vec()) };
        let import = self.0[module].1.imports.get(item);
        let target = import.and_then(|import| self.absolute(import, module));
        match target.filter(|target| doors > 0 && target[..] != path[..=module.len()]) {
            Some(target) => {
                let path = [&target, &path[module.len() + 1..]].concat();
                self.written_in(&path, doors - 1)
            }
            None => Some(module.to_vec()),
        }
    }

    /// Which file uses which other one of the same module.
    fn uses_inside_modules(&self) -> BTreeMap<&[String], BTreeSet<Vec<String>>> {
        let uses = |(own, (_, names)): (&Vec<String>, &(String, Names))| {
            let paths = names.paths.iter().filter(|(_, is_public)| !is_public);
            let files = paths.filter_map(|(path, _)| {
                let absolute = self.absolute(path, own)?;
                self.written_in(&absolute, 5).filter(|file| file != own && file[0] == own[0])
            });
            files.collect::<BTreeSet<_>>()
        };
        self.0.iter().map(|file| (&file.0[..], uses(file))).collect()
    }
}

/// What is left of a graph without the nodes that lie on no cycle.
fn cycles(mut uses: BTreeMap<&[String], BTreeSet<Vec<String>>>) -> Vec<&[String]> {
    loop {
        let used: BTreeSet<_> = uses.values().flatten().cloned().collect();
        let before = uses.len();
        uses.retain(|file, uses| !uses.is_empty() && used.contains(*file));
        let left: BTreeSet<_> = uses.keys().map(|file| file.to_vec()).collect();
        for uses in uses.values_mut() {
            uses.retain(|file| left.contains(file));
        }
        if uses.len() == before {
            return uses.into_keys().collect();
        }
    }
}

/// The code without its comments.
fn code(text: &str) -> String {
    let code = text.lines().map(|line| line.split("//").next().unwrap());
    code.collect::<Vec<_>>().join("\n")
}

/// The modules that follow a `crate::`, also in `crate::{a, b::c}`.
fn used_modules(code: &str) -> BTreeSet<String> {
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
fn every_module_is_on_the_map_and_the_map_has_no_other() {
    let sources = sources();
    let found: BTreeSet<_> = sources.iter().map(|source| source.module.clone()).collect();
    let on_map: BTreeSet<_> = modules(&sources).into_iter().collect();
    let expected = on_map.iter().cloned().chain(["lib".to_owned(), "main".to_owned()]).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_module_uses_only_modules_below_it() {
    let sources = sources();
    let modules = modules(&sources);
    let level = |module: &str| modules.iter().position(|known| known == module);
    let foundation = level(FOUNDATION_BEGINS_WITH).expect("the foundation is on the map");
    let mut violations = Vec::new();
    let mut uses = 0;
    for source in sources.iter().filter(|source| !matches!(&*source.module, "lib" | "main")) {
        // A module that is missing on the map may use nothing.
        let own = level(&source.module).unwrap_or(usize::MAX);
        for used in used_modules(&code(&source.text)) {
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
    for (library, homes) in [
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
        let strangers = users.iter().filter(|source| !homes.contains(&&*source.module));
        violations.extend(strangers.map(|s| format!("src/{} uses {library}", s.path)));
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn files_of_a_module_form_no_cycle() {
    let files = Files::of(&sources());
    let uses = files.uses_inside_modules();
    let edges: usize = uses.values().map(BTreeSet::len).sum();
    assert!(edges > 300, "the reader of imports has found only {edges}");
    let left = cycles(uses);
    let left: Vec<_> = left.iter().map(|file| files.0[*file].0.as_str()).collect();
    assert!(left.is_empty(), "on a cycle, or between two: {left:#?}");
}

#[test]
fn no_object_grows_over_many_files() {
    let files = Files::of(&sources());
    let mut impls: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (module, (path, names)) in &files.0 {
        for name in &names.impls {
            impls.entry((&module[0], name)).or_default().push(path);
        }
    }
    impls.retain(|_, files| files.len() > MOST_FILES_OF_AN_IMPL);
    assert!(impls.is_empty(), "{impls:#?}");
}

#[test]
fn a_cycle_is_seen_through_doors_and_by_names_of_children() {
    let source = |path: &str, text: &str| {
        let module = path.split('/').next().unwrap().to_owned();
        Source { path: path.to_owned(), module, text: text.to_owned() }
    };
    let door = source("a/mod.rs", "mod b; mod c; mod d; pub use b::B; pub use c::C;");
    let b =
        source("a/b.rs", "use super::C; pub struct B; #[cfg(test)] mod tests { use crate::a::d; }");
    let with = |c: &str| {
        let copy = |s: &Source| source(&s.path, &s.text);
        let sources =
            [copy(&door), copy(&b), source("a/c.rs", c), source("a/d.rs", "use super::b::B;")];
        let files = Files::of(&sources);
        let left = cycles(files.uses_inside_modules());
        left.iter().map(|file| files.0[*file].0.clone()).collect::<Vec<_>>()
    };
    assert_eq!(with("pub struct C;"), Vec::<String>::new());
    assert_eq!(with("use crate::a::B; pub struct C;"), ["a/b.rs", "a/c.rs"]);
    assert_eq!(with("fn f() { super::d::f() } pub struct C;"), ["a/b.rs", "a/c.rs", "a/d.rs"]);
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
    assert_eq!(used_modules(code), expected.into());
}

/// What commands print is made harmless in one place.
#[test]
fn commands_print_through_one_file() {
    let printing = sources().into_iter().filter(|source| {
        source.module == "cli"
            && source.path != "cli/print.rs"
            && [" println!(", " print!(", "Table::new"]
                .iter()
                .any(|call| source.text.contains(call))
    });
    let printing: Vec<String> = printing.map(|source| source.path).collect();
    assert!(printing.is_empty(), "{printing:?}");
}
