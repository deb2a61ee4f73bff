//! The two sides as processes: the gateway's own program, and the floor.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::callgrind::Callgrind;
use crate::client::Connection;
use crate::world::{Tenant, World};
use crate::{Result, floor, output, requests};

const PROGRAM: &str = env!("CARGO_BIN_EXE_narthex");
/// A first start makes keys and the template.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The gateway's own drain is shorter.
const STOP_LIMIT: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(10);
/// Settings that a version of the program may or may not have: one that has them gets them.
const WHERE_KNOWN: [(&str, &str); 3] = [
    ("NARTHEX_HTTP__OPERATIONS_LISTEN", "127.0.0.1:0"),
    ("NARTHEX_HTTP__DRAIN_DELAY", "0s"),
    ("NARTHEX_LIMITS__ENABLED", "false"),
];

/// The gateway.
pub struct Gateway {
    child: Child,
    pub address: SocketAddr,
    log: PathBuf,
}

/// The program with the world's settings and no others.
pub fn narthex(world: &World) -> Command {
    with_settings(Command::new(PROGRAM), world)
}

fn with_settings(mut command: Command, world: &World) -> Command {
    let ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("NARTHEX_") || name.starts_with("PG") || name == "DATABASE_URL"
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
        .env("NARTHEX_REGISTRY__URL", world.url("narthex_registry"))
        .env("NARTHEX_SECRETS__MASTER_KEY", &world.master_key)
        .env("NARTHEX_TELNYX__PUBLIC_KEY", world.provider.public_key().to_base64())
        .env("NARTHEX_LOG__FILTER", "warn")
        // So that the tokens of the set-up last for the whole run.
        .env("NARTHEX_AUTH__ACCESS_TOKEN_TTL", "12h")
        // All load comes from a few tenants. They are counted, and never turned away.
        .env("NARTHEX_LIMITS__TENANT_READS", "1000000/1s")
        .env("NARTHEX_LIMITS__TENANT_WRITES", "1000000/1s");
    for (name, value) in WHERE_KNOWN {
        let known = [(name.to_owned(), value.to_owned())];
        if narthex::configuration::load_from(None, known).is_ok() {
            command.env(name, value);
        }
    }
    command.envs(world.settings.iter().map(|(name, value)| (name, value)));
    command
}

impl Gateway {
    /// With the defaults, except for `settings`.
    pub async fn start(world: &World, settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_as(narthex(world), settings).await
    }

    /// Under callgrind, with the limits that every installation has, and without databases that are made meanwhile.
    pub async fn start_under(callgrind: &Callgrind, world: &World) -> Result<Self> {
        let command = with_settings(callgrind.command(PROGRAM), world);
        let settings = [("NARTHEX_LIMITS__ENABLED", "true"), ("NARTHEX_PROVISIONING__SPARES", "0")];
        Self::start_as(command, &settings).await
    }

    async fn start_as(mut command: Command, settings: &[(&str, &str)]) -> Result<Self> {
        let address = free_address()?;
        let log = output("gateway.log");
        std::fs::create_dir_all(log.parent().unwrap_or(&log))?;
        let child = command
            .arg("serve")
            .env("NARTHEX_HTTP__LISTEN", address.to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()?;
        let mut gateway = Self { child, address, log };
        let limit = Instant::now() + START_LIMIT;
        while !gateway.is_ready().await {
            if !gateway.lives() || Instant::now() > limit {
                let log = std::fs::read_to_string(&gateway.log).unwrap_or_default();
                return Err(format!("the gateway did not start:\n{log}").into());
            }
            tokio::time::sleep(POLL).await;
        }
        eprintln!("bench: the gateway is process {}", gateway.pid());
        Ok(gateway)
    }

    async fn is_ready(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.address).await else { return false };
        connection
            .call(&requests::get("/readyz", None))
            .await
            .is_ok_and(|answer| answer.status == 200)
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Has it not ended by itself?
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// Resident memory in bytes. Linux only.
    pub fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let kilobytes = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok()
        });
        Ok(kilobytes.ok_or("no VmRSS")? * 1024.0)
    }

    /// Asks it to end, and fails where that takes too long or goes wrong.
    pub async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.pid())?), Signal::SIGTERM)?;
        let status = tokio::time::timeout(STOP_LIMIT, self.child.wait()).await??;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the gateway ended with {status}").into())
        }
    }
}

/// The baseline.
pub struct Floor {
    child: Child,
    pub address: SocketAddr,
}

impl Floor {
    /// On the database of the first tenant.
    pub async fn start(world: &World) -> Result<Self> {
        Self::start_with(&world.tenants[..1], world, &[]).await
    }

    /// As [`Floor::start`], under callgrind.
    pub async fn start_under(callgrind: &Callgrind, world: &World) -> Result<Self> {
        let command = callgrind.command(std::env::current_exe()?);
        Self::start_as(command, &world.tenants[..1], world, &[]).await
    }

    /// As [`Floor::start`], with three connections instead of ten.
    pub async fn start_with_few(world: &World) -> Result<Self> {
        Self::start_with(&world.tenants[..1], world, &["--connections", "3"]).await
    }

    /// As [`Floor::start`], one request at a time on each connection.
    pub async fn start_in_turn(world: &World) -> Result<Self> {
        Self::start_with(&world.tenants[..1], world, &["--in-turn"]).await
    }

    /// On the databases of many tenants, a few connections to each.
    pub async fn start_on_many(world: &World, tenants: usize) -> Result<Self> {
        Self::start_with(&world.tenants[..tenants], world, &["--connections", "3"]).await
    }

    async fn start_with(tenants: &[Tenant], world: &World, more: &[&str]) -> Result<Self> {
        let command = Command::new(std::env::current_exe()?);
        Self::start_as(command, tenants, world, more).await
    }

    async fn start_as(
        mut command: Command,
        tenants: &[Tenant],
        world: &World,
        more: &[&str],
    ) -> Result<Self> {
        let members: Vec<&str> = tenants.iter().map(|tenant| tenant.member.as_str()).collect();
        let urls: Vec<String> = tenants.iter().map(|tenant| world.url(&tenant.database)).collect();
        let mut child = command
            .args(["floor", "--members", &members.join(",")])
            .args(more)
            .env(floor::URL_VARIABLE, urls.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the floor has no output")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let address = line.ok_or("the floor did not start")?.parse()?;
        Ok(Self { child, address })
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Free at this moment; nobody else on the loopback interface is likely to take it in the next.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
