//! Many more tenants than pools, some of them called much more often than others.

use std::sync::Arc;

use crate::Result;
use crate::load::{Pace, Source, Tally, drawing};
use crate::processes::Gateway;
use crate::report::{Goal, Report, counts};
use crate::requests::Shot;
use crate::scale::Scale;
use crate::statistics::{Zipf, median};
use crate::world::World;

/// Of the rate that a closed loop reaches.
const MODERATE: f64 = 0.5;

pub async fn measure(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let cap = scale.cap.to_string();
    let gateway = Gateway::start(world, &[("NARTHEX_ROUTER__MAX_OPEN_TENANTS", &cap)]).await?;
    let (mut full, mut paced): (Vec<Tally>, Vec<Tally>) = (vec![], vec![]);
    for round in 0..scale.rounds {
        let sources = zipf(world, scale.connections, round as u64);
        full.push(scale.load(gateway.address, Pace::ClosedLoop).run(sources).await?);
        let rate = MODERATE * median(&full.iter().map(Tally::rate).collect::<Vec<_>>());
        let sources = zipf(world, scale.connections, 100 + round as u64);
        paced.push(scale.load(gateway.address, Pace::PerSecond(rate)).run(sources).await?);
    }
    let of =
        |tallies: &[Tally], value: fn(&Tally) -> f64| tallies.iter().map(value).collect::<Vec<_>>();
    let title = format!("Zipf over {} tenants, {cap} pools", world.tenants.len());
    for (name, tallies) in [("full load", &full), ("half of that", &paced)] {
        report.row(&format!("{title}: {name}"), "/s", of(tallies, Tally::rate), None);
        report.row("... p50", "ms", of(tallies, |t| t.percentile(0.5)), None);
        report.row("... p99", "ms", of(tallies, |t| t.percentile(0.99)), None);
        let failed = tallies.iter().map(Tally::failed).sum::<u64>() as f64;
        report.row("... failed requests", "", vec![failed], Some(Goal::Zero));
    }
    let mut all = Tally::new()?;
    for tally in full.into_iter().chain(paced) {
        all.add(tally)?;
    }
    report.require_own_rows(&all);
    if all.failed() > 0 {
        report.note(format!("failures: {}", counts(&all.failures)));
    }
    gateway.stop().await
}

fn zipf(world: &World, connections: usize, seed: u64) -> Vec<Source> {
    let shots: Arc<[Arc<Shot>]> = world.tenants.iter().map(|tenant| tenant.read.clone()).collect();
    let law = Arc::new(Zipf::new(shots.len()));
    drawing(connections, seed, move |random| shots[law.draw(random)].clone())
}
