//! What a load balancer sees while the gateway is busy.

use crate::Result;
use crate::load::{Load, Pace, drawing};
use crate::numbers::{reads, visit};
use crate::processes::{Floor, Gateway};
use crate::report::{Goal, Report};
use crate::requests;
use crate::scale::Scale;
use crate::world::World;

/// Looks a second.
const LOOKS: f64 = 100.0;

pub async fn measure(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let gateway = Gateway::start(world, &[]).await?;
    let floor = Floor::start(world).await?;
    let many = scale.warm.min(world.tenants.len());
    visit(&gateway, world, 0..many).await?;
    let (mut idle, mut busy, mut baseline) = (vec![], vec![], vec![]);
    for round in 0..scale.rounds {
        for side in (0..3).map(|place| (place + round) % 3) {
            let address = if side == 2 { floor.address } else { gateway.address };
            let looks: Load = scale.load(address, Pace::PerSecond(LOOKS));
            let looking = looks.run(drawing(2, 0, |_| requests::health()));
            let tenants = if side == 2 { 1 } else { many };
            let loaded = scale.load(address, Pace::ClosedLoop);
            let tally = if side == 0 {
                looking.await?
            } else {
                let sources = reads(world, tenants, scale.connections, round as u64);
                let (looked, read) = tokio::try_join!(looking, loaded.run(sources))?;
                report.require_all_good("reading", &read);
                looked
            };
            report.require_all_good("looking at the health", &tally);
            [&mut idle, &mut busy, &mut baseline][side].push(tally.percentile(0.99));
        }
    }
    let clients = scale.connections;
    report.row("/health of the idle gateway: p99", "ms", idle, None);
    let what = format!("/health while {clients} clients read: p99, floor");
    report.row(&what, "ms", baseline, None);
    let what = format!("/health while {clients} clients read: p99, gateway");
    report.row(&what, "ms", busy, Some(Goal::Below(5.0)));
    floor.stop().await?;
    gateway.stop().await
}
