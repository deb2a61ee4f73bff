//! The database server is killed under load, stays away for a moment, and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::NoTls;

use crate::Result;
use crate::load::{Load, Pace, Tally, drawing};
use crate::processes::Gateway;
use crate::report::{Report, counts};
use crate::scale::Scale;
use crate::world::World;

const TENANTS: usize = 20;
const RATE: f64 = 200.0;
const BEFORE: Duration = Duration::from_secs(3);
const AWAY: Duration = Duration::from_secs(2);
/// From the return of the server to the end of the load.
const AFTER: Duration = Duration::from_secs(20);

pub async fn run(world: &mut World, scale: &Scale, report: &mut Report) -> Result<()> {
    let mut gateway = Gateway::start(world, &[]).await?;
    let (mut first, mut all, mut failed) = (vec![], vec![], vec![]);
    let mut kinds = BTreeMap::new();
    for _ in 0..scale.kills {
        let (tally, accepted) = kill_under_load(world, &gateway, scale).await?;
        report.require(gateway.lives(), "the gateway ended when its server was killed");
        report.require_own_rows(&tally);
        let milliseconds =
            |at: Instant| at.saturating_duration_since(accepted).as_secs_f64() * 1000.0;
        let good = |tenant: Option<usize>| {
            let fits = |event: &&crate::load::Event| {
                event.good && event.at >= accepted && tenant.is_none_or(|t| event.tenant == t)
            };
            tally.events.iter().filter(fits).map(|event| event.at).min()
        };
        match good(None) {
            Some(at) => first.push(milliseconds(at)),
            None => report.require(false, "no good answer after the server's return"),
        }
        let back: BTreeSet<Instant> =
            (0..TENANTS).filter_map(|tenant| good(Some(tenant))).collect();
        let missing = (0..TENANTS).filter(|tenant| good(Some(*tenant)).is_none()).count();
        report.require(missing == 0, &format!("{missing} tenants did not answer again"));
        all.extend(back.last().map(|at| milliseconds(*at)));
        failed.push(tally.failed() as f64);
        for (kind, count) in tally.failures {
            *kinds.entry(kind).or_default() += count;
        }
    }
    report.note(format!(
        "{RATE} reads a second over {TENANTS} tenants and {} connections; SIGKILL to the server after {} s, started again {} s later, {} times",
        scale.connections, BEFORE.as_secs(), AWAY.as_secs(), scale.kills
    ));
    report.row("Server killed: first good answer after its return", "ms", first, None);
    report.row(&format!("... every one of {TENANTS} tenants answers"), "ms", all, None);
    report.row("... requests that failed", "", failed, None);
    report.note(format!("failed requests by kind, all times together: {}", counts(&kinds)));
    gateway.stop().await
}

/// The second value: when the server accepted connections again.
async fn kill_under_load(
    world: &mut World,
    gateway: &Gateway,
    scale: &Scale,
) -> Result<(Tally, Instant)> {
    let load = Load {
        address: gateway.address,
        pace: Pace::PerSecond(RATE),
        warm_up: Duration::ZERO,
        // A killed server takes some time to start: its processes have to notice first.
        length: BEFORE + AWAY + AFTER,
        traced: true,
    };
    let shots: Vec<_> = world.tenants[..TENANTS].iter().map(|tenant| tenant.read.clone()).collect();
    let choose = move |random: &mut fastrand::Rng| shots[random.usize(..TENANTS)].clone();
    let running = tokio::spawn(load.run(drawing(scale.connections, 7, choose)));
    tokio::time::sleep(BEFORE).await;
    kill(postmaster(world)?, Signal::SIGKILL)?;
    tokio::time::sleep(AWAY).await;
    let url = world.url("postgres");
    let accepted = tokio::spawn(async move {
        while tokio_postgres::connect(&url, NoTls).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Instant::now()
    });
    world.cluster.restart().await?;
    let accepted = accepted.await?;
    Ok((running.await??, accepted))
}

/// The first line of `postmaster.pid` is its process id.
fn postmaster(world: &World) -> Result<Pid> {
    let file = world.cluster.data_dir().join("cluster/postmaster.pid");
    let text = std::fs::read_to_string(file)?;
    Ok(Pid::from_raw(text.lines().next().unwrap_or_default().trim().parse()?))
}
