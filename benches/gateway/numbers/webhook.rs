//! A signed SMS, verified and stored in its tenant's database, beside the same insert of the floor.

use crate::Result;
use crate::load::{Load, Pace, Tally, stock};
use crate::processes::{Floor, Gateway};
use crate::report::{Goal, Report};
use crate::requests;
use crate::scale::Scale;
use crate::world::{NUMBER, World};

/// Connections at a moderate pace.
const SENDERS: usize = 8;
/// Messages a second at a moderate pace.
const MODERATE: f64 = 200.0;

pub async fn measure(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let gateway = Gateway::start(world, &[]).await?;
    let floor = Floor::start(world).await?;
    let sides = [floor.address, gateway.address];
    let (mut rates, mut slow) = (vec![vec![]; 2], vec![vec![]; 2]);
    for round in 0..scale.rounds {
        for side in (0..2).map(|place| (place + round) % 2) {
            let send = async |count: usize, connections: usize, pace: Pace| -> Result<Tally> {
                let shots = requests::webhooks(&world.provider, NUMBER, count);
                let load = Load {
                    warm_up: std::time::Duration::ZERO,
                    length: std::time::Duration::from_secs(120),
                    ..scale.load(sides[side], pace)
                };
                load.run(stock(connections, shots)).await
            };
            // Warm-up, not counted.
            send(scale.webhooks / 5, scale.connections, Pace::ClosedLoop).await?;
            let tally = send(scale.webhooks, scale.connections, Pace::ClosedLoop).await?;
            report.require_all_good("storing messages", &tally);
            rates[side].push(tally.rate());

            let count = (MODERATE * scale.length.as_secs_f64()) as usize;
            let tally = send(count, SENDERS, Pace::PerSecond(MODERATE)).await?;
            report.require_all_good("storing messages", &tally);
            slow[side].push(tally.percentile(0.99));
        }
    }
    let ratio = rates[1].iter().zip(&rates[0]).map(|(gateway, floor)| gateway / floor).collect();
    let clients = scale.connections;
    for (side, name) in ["floor (unsigned)", "gateway"].iter().enumerate() {
        report.row(
            &format!("SMS stored, {clients} clients: {name}"),
            "/s",
            rates[side].clone(),
            None,
        );
        let goal = (side == 1).then_some(Goal::Below(10.0));
        let what = format!("SMS stored, {MODERATE} a second, p99: {name}");
        report.row(&what, "ms", slow[side].clone(), goal);
    }
    report.row("SMS stored: gateway, of the floor", "", ratio, Some(Goal::AtLeast(0.5)));
    floor.stop().await?;
    gateway.stop().await
}
