//! The server's settings. They are on its command line, where they take precedence over
//! `postgresql.conf`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::directory::Layout;

/// Size of `sun_path` in Linux, without the final zero byte.
const SOCKET_PATH_LIMIT: usize = 107;
/// The name that PostgreSQL appends to the socket directory.
const SOCKET_NAME: &str = "/.s.PGSQL.65535";

/// Standard error is `postgresql.log`. A logging collector would redirect it.
const ALWAYS: [&str; 5] = [
    "listen_addresses=127.0.0.1",
    "log_destination=stderr",
    "logging_collector=off",
    "log_line_prefix=%m [%p] %q%u@%d ",
    "jit=off",
];

/// Without this, PostgreSQL opens and syncs each file of each database after a crash, which takes
/// minutes for thousands.
const LINUX_ONLY: &str = "recovery_init_sync_method=syncfs";

/// A temporary cluster survives a crash of the server, but not of the machine. `synchronous_commit`
/// stays on: it costs little without `fsync`, and fault tests must find committed data after a
/// crash.
const TEMPORARY: [&str; 8] = [
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "shared_buffers=32MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=1h",
    // With hundreds of databases the launcher would start a worker every few milliseconds.
    "autovacuum=off",
];

/// All arguments of `postgres`.
pub(crate) fn arguments(
    layout: &Layout,
    durable: bool,
    max_connections: u32,
    port: u16,
) -> Vec<OsString> {
    let mut settings: Vec<OsString> = ALWAYS.map(OsString::from).into();
    if cfg!(target_os = "linux") {
        settings.push(LINUX_ONLY.into());
    }
    if !durable {
        settings.extend(TEMPORARY.map(OsString::from));
    }
    settings.push(format!("port={port}").into());
    settings.push(format!("max_connections={max_connections}").into());
    settings.push(socket_setting(&layout.socket_dir()));

    let mut arguments: Vec<OsString> = vec!["-D".into(), layout.cluster().into()];
    arguments.extend(settings.into_iter().flat_map(|setting| ["-c".into(), setting]));
    arguments
}

/// No socket if its path is too long, or contains a character that separates the entries of this
/// list.
fn socket_setting(dir: &Path) -> OsString {
    let mut setting = OsString::from("unix_socket_directories=");
    let bytes = dir.as_os_str().as_bytes();
    if bytes.len() + SOCKET_NAME.len() <= SOCKET_PATH_LIMIT
        && !bytes.iter().any(|byte| b",\"".contains(byte))
    {
        setting.push(dir);
    }
    setting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_that_is_too_long_turns_the_socket_off() {
        let longest = format!("/{}", "d".repeat(SOCKET_PATH_LIMIT - SOCKET_NAME.len() - 1));
        assert_eq!(
            socket_setting(Path::new(&longest)),
            format!("unix_socket_directories={longest}").as_str()
        );
        assert_eq!(socket_setting(Path::new(&format!("{longest}d"))), "unix_socket_directories=");
        assert_eq!(socket_setting(Path::new("/a,b")), "unix_socket_directories=");
    }
}
