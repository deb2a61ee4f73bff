//! Facts of the kernel about this process.

use nix::unistd::{SysconfVar, sysconf};

/// Resident memory in bytes. `None` if the system has no `/proc` (proc_pid_statm(5): the second
/// number, in pages).
pub(super) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page_size = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page_size).ok()?)
}
