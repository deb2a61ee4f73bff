//! One tenant in trouble, or in a hurry, and what the others notice of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::Connection;
use crate::load::{Load, Pace, Source, Tally, drawing};
use crate::processes::Gateway;
use crate::report::{Goal, Report, counts};
use crate::requests::Shot;
use crate::scale::Scale;
use crate::statistics::ratio_of_medians;
use crate::world::World;

/// The load of the others, of what they reach in a closed loop.
const SHARE: f64 = 0.3;
/// Connections and requests a second of the tenant whose database refuses.
const TROUBLED: (usize, f64) = (4, 20.0);
const TIMES: f64 = 50.0;
/// For a tenant that is allowed again.
const RECOVERY: Duration = Duration::from_secs(90);
/// The p99 of the others may grow by a tenth.
const GOAL: Option<Goal> = Some(Goal::Below(1.1));

/// A gateway with a tenant to watch, the first one, and the others.
struct Street {
    gateway: Gateway,
    watched: Vec<Arc<Shot>>,
    others: Vec<Arc<Shot>>,
    /// Requests a second of all others together.
    rate: f64,
}

impl Street {
    async fn open(world: &World, scale: &Scale) -> Result<Self> {
        let gateway = Gateway::start(world, &[]).await?;
        let shots =
            |tenants: &[crate::world::Tenant]| tenants.iter().map(|t| t.read.clone()).collect();
        let (watched, others): (Vec<_>, Vec<_>) =
            (shots(&world.tenants[..1]), shots(&world.tenants[1..scale.warm]));
        let full = load(scale, gateway.address, Pace::ClosedLoop);
        // Twice: the first time opens the pools.
        full.run(spread(&others, scale.connections, 1)).await?;
        let rate = SHARE * full.run(spread(&others, scale.connections, 2)).await?.rate();
        Ok(Self { gateway, watched, others, rate })
    }

    /// Runs the load of the others beside that of the watched tenant.
    async fn run(
        &self,
        scale: &Scale,
        round: usize,
        others: f64,
        watched: (usize, f64),
    ) -> Result<(Tally, Tally)> {
        let at = |rate| load(scale, self.gateway.address, Pace::PerSecond(rate));
        let seed = 10 + round as u64;
        let (tally, theirs) = tokio::try_join!(
            at(others).run(spread(&self.others, scale.connections, seed)),
            at(watched.1).run(spread(&self.watched, watched.0, seed)),
        )?;
        Ok((tally, theirs))
    }
}

fn load(scale: &Scale, address: SocketAddr, pace: Pace) -> Load {
    Load { address, pace, warm_up: scale.warm_up, length: scale.length, traced: false }
}

fn spread(shots: &[Arc<Shot>], connections: usize, seed: u64) -> Vec<Source> {
    let shots: Arc<[Arc<Shot>]> = shots.into();
    drawing(connections, seed, move |random| shots[random.usize(..shots.len())].clone())
}

/// One tenant's database refuses connections.
pub async fn refusing(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let street = Street::open(world, scale).await?;
    let database = &world.tenants[0].database;
    let (mut calm, mut fault, mut theirs) = (vec![], vec![], Tally::new()?);
    let mut recoveries = Vec::new();
    for round in 0..scale.pairs {
        // Which comes first changes from pair to pair.
        for refuses in [round % 2 == 0, round % 2 == 1] {
            if refuses {
                refuse(world, database).await?;
            } else {
                recoveries.push(allow(world, database, &street).await?);
            }
            let (tally, watched) = street.run(scale, round, street.rate, TROUBLED).await?;
            report.require_all_good("the other tenants", &tally);
            report.require_own_rows(&watched);
            if refuses {
                fault.push(tally.percentile(0.99));
                theirs.add(watched)?;
            } else {
                calm.push(tally.percentile(0.99));
            }
        }
    }
    recoveries.push(allow(world, database, &street).await?);
    report.note(format!(
        "{} others at {:.0} requests a second together over {} connections, the refused tenant at {} a second; {} pairs of rounds",
        street.others.len(), street.rate, scale.connections, TROUBLED.1, scale.pairs
    ));
    report.row("p99 of the others, all well", "ms", calm.clone(), None);
    report.row("... while one tenant's database refuses", "ms", fault.clone(), None);
    report.ratio("... ratio of the medians", ratio_of_medians(&fault, &calm), GOAL);
    report.row("... the tenant answers again after", "ms", recoveries, None);
    report.note(format!("its own requests meanwhile: {}", counts(&theirs.failures)));
    street.gateway.stop().await
}

async fn refuse(world: &World, database: &str) -> Result<()> {
    world.execute(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).await?;
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    world.execute(&end).await
}

/// How long the tenant takes to answer again, in milliseconds.
async fn allow(world: &World, database: &str, street: &Street) -> Result<f64> {
    world.execute(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")).await?;
    let start = Instant::now();
    let mut connection = Connection::open(street.gateway.address).await?;
    while connection.call(&street.watched[0].bytes).await?.status != 200 {
        if start.elapsed() > RECOVERY {
            return Err("the tenant does not answer again".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

/// One tenant calls fifty times as often as each of the others. The same requests spread over the others are the
/// control: what they cost is the machine's, and only what is on top of that is the one tenant's.
pub async fn crowding(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let street = Street::open(world, scale).await?;
    let each = street.rate / street.others.len() as f64;
    let more = each * (TIMES - 1.0);
    let clients = scale.connections;
    let phases = [
        ("all alike", street.rate, each),
        ("one fifty times as often", street.rate, each * TIMES),
        ("the same requests spread evenly", street.rate + more, each),
    ];
    let mut slow = vec![vec![]; phases.len()];
    let mut theirs = vec![vec![]; phases.len()];
    for round in 0..scale.pairs {
        for phase in (0..phases.len()).map(|place| (place + round) % phases.len()) {
            let (name, others, watched) = phases[phase];
            let (tally, its) = street.run(scale, round, others, (clients, watched)).await?;
            report.require_all_good(name, &tally);
            report.require_own_rows(&its);
            slow[phase].push(tally.percentile(0.99));
            theirs[phase].push(its.percentile(0.99));
        }
    }
    report.note(format!(
        "{} others at {each:.1} requests a second each, over {clients} connections; the one tenant at {:.0}, over as many; {} rounds",
        street.others.len(), each * TIMES, scale.pairs
    ));
    for (phase, (name, ..)) in phases.iter().enumerate() {
        report.row(&format!("p99 of the others, {name}"), "ms", slow[phase].clone(), None);
    }
    report.row("... of the one tenant meanwhile", "ms", theirs[1].clone(), None);
    report.ratio("... one in a hurry, of all alike", ratio_of_medians(&slow[1], &slow[0]), GOAL);
    report.ratio(
        "... one in a hurry, of evenly spread",
        ratio_of_medians(&slow[1], &slow[2]),
        None,
    );
    street.gateway.stop().await
}
