//! Finds the installed PostgreSQL server programs.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::error::ClusterError;

const SUPPORTED: RangeInclusive<u32> = 15..=18;

/// A directory that holds `initdb` and `postgres` of one supported version.
pub(crate) struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// The best binaries on this machine. If a cluster of major version `made_by` exists, the
    /// binaries of that version.
    pub(crate) fn find(data_dir: &Path, made_by: Option<u32>) -> Result<Binaries, ClusterError> {
        let mut unsupported = None;
        for dir in candidates()? {
            let printed = printed_version(&dir);
            match major(&printed) {
                Some(found)
                    if SUPPORTED.contains(&found)
                        && made_by.is_none_or(|made_by| made_by == found) =>
                {
                    return Ok(Binaries { dir });
                }
                Some(found) if SUPPORTED.contains(&found) => {}
                _ => unsupported = unsupported.or(Some((dir, printed))),
            }
        }
        Err(match (made_by, unsupported) {
            (Some(major), _) => {
                ClusterError::VersionNotInstalled { data_dir: data_dir.to_owned(), major }
            }
            (None, Some((dir, found))) => ClusterError::UnsupportedVersion { dir, found },
            (None, None) => ClusterError::BinariesMissing,
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }
}

/// Directories that hold the programs, the preferred one first.
fn candidates() -> Result<Vec<PathBuf>, ClusterError> {
    if let Some(dir) = env::var_os("NARTHEX_POSTGRES_BIN").map(PathBuf::from) {
        return if holds_programs(&dir) {
            Ok(vec![dir])
        } else {
            Err(ClusterError::BinariesNotAt { dir })
        };
    }
    let mut found = versioned("/usr/lib/postgresql", "", "bin");
    found.extend(on_path());
    found.extend(versioned("/usr", "pgsql-", "bin"));
    found.extend(versioned("/opt/homebrew/opt", "postgresql@", "bin"));
    found.extend(versioned("/usr/local/opt", "postgresql@", "bin"));
    found.push(PathBuf::from("/opt/homebrew/opt/postgresql/bin"));
    found.retain(|dir| holds_programs(dir));
    Ok(found)
}

/// `<parent>/<prefix><major>/<below>` for each supported major version there, the newest first.
fn versioned(parent: &str, prefix: &str, below: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(below)))
        })
        .collect();
    // Supported versions before unsupported ones, so that a beta or a leftover never hides a usable
    // version.
    versions.sort_by_key(|(version, _)| std::cmp::Reverse((SUPPORTED.contains(version), *version)));
    versions.into_iter().map(|(_, dir)| dir).collect()
}

/// `initdb` finds its share directory relative to its real path, so links are followed.
fn on_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter_map(|dir| fs::canonicalize(dir.join("postgres")).ok())
        .filter_map(|program| program.parent().map(Path::to_owned))
        .collect()
}

fn holds_programs(dir: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| dir.join(program).is_file())
}

fn printed_version(dir: &Path) -> String {
    let output = Command::new(dir.join("postgres")).arg(OsStr::new("--version")).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// Returns 17 for `postgres (PostgreSQL) 17.2 (Debian 17.2-1)`, and also for `17beta1`.
fn major(printed: &str) -> Option<u32> {
    let version = printed.split_once("(PostgreSQL) ")?.1;
    let digits = version.split(|character: char| !character.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn major_version_is_read_from_what_the_server_prints() {
        assert_eq!(major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 9.6.24"), Some(9));
        assert_eq!(major("postgres: command not found"), None);
    }
}
