//! Idle connections are ended on the server, one after the other under load and all at once by a restart with nothing in
//! flight. No request may notice.

use std::time::{Duration, Instant};

use crate::Result;
use crate::load::{Load, Pace, drawing};
use crate::processes::Gateway;
use crate::report::{Report, counts};
use crate::scale::Scale;
use crate::world::World;

const TENANTS: usize = 20;
const RATE: f64 = 200.0;
/// Between two ends.
const PAUSE: Duration = Duration::from_millis(50);
/// Before the first end and after the last, and before and after the restart.
const CALM: Duration = Duration::from_secs(2);

pub async fn run(world: &mut World, scale: &Scale, report: &mut Report) -> Result<()> {
    let gateway = Gateway::start(world, &[]).await?;
    ended_under_load(world, &gateway, scale, report).await?;
    for _ in 0..scale.kills {
        restarted_in_silence(world, &gateway, scale, report).await?;
    }
    gateway.stop().await
}

fn load(gateway: &Gateway, length: Duration) -> Load {
    let (address, pace) = (gateway.address, Pace::PerSecond(RATE));
    Load { address, pace, warm_up: Duration::ZERO, length, traced: false }
}

async fn ended_under_load(
    world: &World,
    gateway: &Gateway,
    scale: &Scale,
    report: &mut Report,
) -> Result<()> {
    let shots: Vec<_> = world.tenants[..TENANTS].iter().map(|tenant| tenant.read.clone()).collect();
    let choose = move |random: &mut fastrand::Rng| shots[random.usize(..TENANTS)].clone();
    let ends = u32::try_from(scale.idle_ends)?;
    let length = CALM * 2 + PAUSE * ends;
    let running = tokio::spawn(load(gateway, length).run(drawing(scale.connections, 7, choose)));
    let server = world.connect("postgres").await?;
    tokio::time::sleep(CALM).await;
    // The one that has been idle for longest, so that it is the turn of each, the registry's among them.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name LIKE 'narthex/%/%/%' AND state = 'idle'
               ORDER BY state_change LIMIT 1";
    let (mut ended, begun) = (0_u32, Instant::now());
    while begun.elapsed() < PAUSE * ends {
        ended += u32::try_from(server.query(end, &[]).await?.len())?;
        tokio::time::sleep(PAUSE).await;
    }
    let tally = running.await??;
    report.require_own_rows(&tally);
    report.require_all_good("idle connections ended one after the other", &tally);
    report.note(format!(
        "{RATE} reads a second over {TENANTS} tenants and {} connections; {ended} idle connections ended on the server, one each {} ms",
        scale.connections,
        PAUSE.as_millis()
    ));
    report.row(
        "Idle connections ended: requests that failed",
        "",
        vec![tally.failed() as f64],
        None,
    );
    report.row("... p99", "ms", vec![tally.percentile(0.99)], None);
    Ok(())
}

async fn restarted_in_silence(
    world: &mut World,
    gateway: &Gateway,
    scale: &Scale,
    report: &mut Report,
) -> Result<()> {
    let shots: Vec<_> = world.tenants[..TENANTS].iter().map(|tenant| tenant.read.clone()).collect();
    let choose = move |random: &mut fastrand::Rng| shots[random.usize(..TENANTS)].clone();
    load(gateway, CALM).run(drawing(scale.connections, 7, choose.clone())).await?;
    world.cluster.restart().await?;
    let tally = load(gateway, CALM).run(drawing(scale.connections, 8, choose)).await?;
    report.require_own_rows(&tally);
    report.require_all_good("the server restarted with nothing in flight", &tally);
    report.row(
        "Server restarted at rest: requests that failed",
        "",
        vec![tally.failed() as f64],
        None,
    );
    let kinds = counts(&tally.failures);
    report
        .note(format!("after a restart with nothing in flight, failed requests by kind: {kinds}"));
    Ok(())
}
