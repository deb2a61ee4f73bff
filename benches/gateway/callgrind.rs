//! A process under valgrind's callgrind, which counts its instructions in user space: the machine's load changes nothing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::{Result, output};

/// Where a process under callgrind writes what it has counted.
pub struct Callgrind {
    file: PathBuf,
    read: usize,
}

impl Callgrind {
    pub fn new(name: &str) -> Result<Self> {
        let file = output(&format!("callgrind.{name}"));
        let folder = file.parent().unwrap_or(&file);
        std::fs::create_dir_all(folder)?;
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.file_stem() == file.file_name() || path == file {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Self { file, read: 0 })
    }

    /// The program, which counts nothing before [`Callgrind::begin`]. One worker thread: with several, the number of
    /// their wake-ups depends on chance.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("valgrind");
        command
            .args(["--quiet", "--tool=callgrind", "--instr-atstart=no"])
            .args(["--compress-strings=no", "--compress-pos=no"])
            .arg(format!("--callgrind-out-file={}", self.file.display()))
            .arg(program)
            .env("TOKIO_WORKER_THREADS", "1");
        command
    }

    pub async fn begin(&self, pid: u32) -> Result<()> {
        tell(pid, &["instrumentation", "on"]).await
    }

    /// What the process has done since it was last asked.
    pub async fn read(&mut self, pid: u32) -> Result<Profile> {
        tell(pid, &["dump"]).await?;
        self.read += 1;
        let mut file = self.file.clone().into_os_string();
        file.push(format!(".{}", self.read));
        Profile::read(Path::new(&file))
    }
}

async fn tell(pid: u32, what: &[&str]) -> Result<()> {
    let done = Command::new("vgdb").arg(format!("--pid={pid}")).args(what).output().await?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(format!("vgdb {}: {said}", what.join(" ")).into())
}

/// Calls of one function by another.
#[derive(Default)]
struct Calls {
    count: u64,
    /// Instructions of the called function and of all that it calls.
    cost: u64,
}

/// What a process has done for a while.
#[derive(Default)]
pub struct Profile {
    /// Instructions of each function alone.
    functions: HashMap<String, u64>,
    /// By the caller and the called function.
    calls: HashMap<(String, String), Calls>,
}

impl Profile {
    /// The format is that of callgrind's manual, with the names written out.
    fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let mut profile = Self::default();
        let (mut function, mut called) = (String::new(), String::new());
        let mut count: u64 = 0;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                name.clone_into(&mut function);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                name.clone_into(&mut called);
            } else if let Some(counts) = line.strip_prefix("calls=") {
                count = counts.split(' ').next().unwrap_or_default().parse()?;
            } else if line.starts_with(|first: char| first.is_ascii_digit()) {
                let cost: u64 = line.split(' ').nth(1).unwrap_or("0").parse()?;
                match std::mem::take(&mut count) {
                    0 => *profile.functions.entry(function.clone()).or_default() += cost,
                    count => {
                        let pair = (function.clone(), called.clone());
                        let calls = profile.calls.entry(pair).or_default();
                        calls.count += count;
                        calls.cost += cost;
                    }
                }
            }
        }
        Ok(profile)
    }

    /// All that was counted.
    pub fn instructions(&self) -> u64 {
        self.functions.values().sum()
    }

    /// Instructions of some functions and of all that these call.
    pub fn inclusive(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        let own = self.functions.iter().filter(|(name, _)| is_meant(name)).map(|(_, cost)| cost);
        let called =
            self.calls.iter().filter(|((by, called), _)| is_meant(by) && !is_meant(called));
        own.sum::<u64>() + called.map(|(_, calls)| calls.cost).sum::<u64>()
    }

    /// Calls of the allocator's functions that give memory, by others than the allocator itself.
    pub fn allocations(&self) -> u64 {
        const GIVE: [&str; 4] = ["mi_malloc", "mi_zalloc", "mi_calloc", "mi_realloc"];
        let gives = |name: &str| GIVE.iter().any(|give| name.starts_with(give));
        let is_own = |name: &str| name.starts_with("mi_") || name.starts_with("_mi_");
        let calls = self.calls.iter().filter(|((by, called), _)| gives(called) && !is_own(by));
        calls.map(|(_, calls)| calls.count).sum()
    }
}
