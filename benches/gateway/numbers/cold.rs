//! Requests to tenants that have no open pool: one at a time, some at a time, and a crowd before one door.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::Result;
use crate::client::{Connection, find};
use crate::numbers::all_of;
use crate::processes::Gateway;
use crate::report::{Goal, Report};
use crate::scale::Scale;
use crate::statistics::median;
use crate::world::World;

const SEVERAL: usize = 8;
const CROWD: usize = 64;
/// Tenants before whose door a crowd meets.
const DOORS: usize = 10;

/// The tenants are visited in a circle that is longer than the cap: when one is visited again, many others have
/// been since, and its pool is closed.
pub async fn measure(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let cap = scale.cap.to_string();
    let gateway = Gateway::start(world, &[("NARTHEX_ROUTER__MAX_OPEN_TENANTS", &cap)]).await?;
    let mut circle = (0..world.tenants.len()).cycle();
    let mut next = || circle.by_ref().take(scale.cold_opens).collect::<Vec<_>>();
    let mut bare = vec![vec![]; 2];
    let mut single = vec![vec![]; 2];
    let mut several = vec![vec![]; 2];
    for _ in 0..scale.rounds {
        let mut times = Vec::new();
        for tenant in next() {
            let start = Instant::now();
            connect_barely(world, tenant).await?;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        bare[0].push(median(&times));
        times.sort_by(f64::total_cmp);
        bare[1].push(times[(times.len() * 99 / 100).min(times.len() - 1)]);
        for (connections, results) in [(1, &mut single), (SEVERAL, &mut several)] {
            let shots = next().into_iter().map(|tenant| world.tenants[tenant].read.clone());
            let tally = all_of(&gateway, connections, shots.collect()).await?;
            report.require_all_good("cold requests", &tally);
            results[0].push(tally.percentile(0.5));
            results[1].push(tally.percentile(0.99));
        }
    }
    let goal = Some(Goal::Below(30.0));
    report.row("Cold request, baseline (bare connect and query): p50", "ms", bare[0].clone(), None);
    report.row("... p99", "ms", bare[1].clone(), None);
    report.row("Cold request, one at a time: p50", "ms", single[0].clone(), None);
    report.row("... p99", "ms", single[1].clone(), goal);
    report.row(&format!("Cold request, {SEVERAL} at a time: p50"), "ms", several[0].clone(), None);
    report.row("... p99", "ms", several[1].clone(), goal);
    gateway.stop().await
}

/// What a cold request cannot do without: a connection with a password, and the row.
async fn connect_barely(world: &World, tenant: usize) -> Result<()> {
    let tenant = &world.tenants[tenant];
    let client = world.connect(&tenant.database).await?;
    let member: uuid::Uuid = tenant.member.parse()?;
    client.query_one("SELECT * FROM members WHERE id = $1", &[&member]).await?;
    Ok(())
}

pub async fn stampede(world: &World, report: &mut Report) -> Result<()> {
    // Just started: every tenant is cold, and unknown.
    let gateway = Gateway::start(world, &[]).await?;
    let (mut walls, mut opened) = (Vec::new(), Vec::new());
    for tenant in &world.tenants[..DOORS.min(world.tenants.len())] {
        let start = Arc::new(Barrier::new(CROWD + 1));
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            let mut connection = Connection::open(gateway.address).await?;
            let (start, shot) = (start.clone(), tenant.read.clone());
            crowd.spawn(async move {
                start.wait().await;
                let answer = connection.call(&shot.bytes).await?;
                let good = answer.status == 200 && find(answer.body, &shot.must_hold).is_some();
                Ok::<_, std::io::Error>((good, answer.status, answer.code()))
            });
        }
        start.wait().await;
        let begin = Instant::now();
        while let Some(answered) = crowd.join_next().await {
            let (good, status, code) = answered??;
            report.require(good, &format!("one of the crowd got {status} {code}"));
        }
        walls.push(begin.elapsed().as_secs_f64() * 1000.0);
        opened.push(world.connections(Some(&tenant.database)).await? as f64);
    }
    report.row(
        &format!("{CROWD} first requests at once: until the last answer"),
        "ms",
        walls,
        None,
    );
    report.row("... connections opened on the server", "", opened, Some(Goal::Below(11.0)));
    gateway.stop().await
}
