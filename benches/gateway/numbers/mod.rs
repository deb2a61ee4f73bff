//! What the gateway does when all is well.

use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::load::{Load, Pace, Source, Tally, drawing, stock};
use crate::processes::Gateway;
use crate::report::Report;
use crate::requests::Shot;
use crate::scale::Scale;
use crate::world::World;

mod cold;
mod health;
mod login;
mod memory;
mod read;
mod registration;
mod webhook;
mod zipf;

pub const PARTS: &[&str] = &[
    "read",
    "zipf",
    "cold",
    "stampede",
    "webhook",
    "health",
    "memory",
    "idle",
    "registration",
    "login",
];

pub async fn run(part: &str, world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    report.begin(part);
    match part {
        "read" => read::measure(world, scale, report).await,
        "zipf" => zipf::measure(world, scale, report).await,
        "cold" => cold::measure(world, scale, report).await,
        "stampede" => cold::stampede(world, report).await,
        "webhook" => webhook::measure(world, scale, report).await,
        "health" => health::measure(world, scale, report).await,
        "memory" => memory::measure(world, scale, report).await,
        "login" => login::measure(world, scale, report).await,
        "registration" => registration::measure(world, scale, report).await,
        _ => memory::idle(world, scale, report).await,
    }
}

/// Every client reads one of these tenants' members, chosen anew each time.
fn reads(world: &World, tenants: usize, connections: usize, seed: u64) -> Vec<Source> {
    let shots: Arc<[Arc<Shot>]> =
        world.tenants.iter().take(tenants).map(|t| t.read.clone()).collect();
    drawing(connections, seed, move |random| shots[random.usize(..shots.len())].clone())
}

/// One client visits these tenants one after the other.
async fn visit(gateway: &Gateway, world: &World, tenants: std::ops::Range<usize>) -> Result<Tally> {
    let shots = world.tenants[tenants].iter().map(|tenant| tenant.read.clone()).collect();
    all_of(gateway, 1, shots).await
}

/// A closed loop over a stock, to its end.
async fn all_of(gateway: &Gateway, connections: usize, shots: Vec<Arc<Shot>>) -> Result<Tally> {
    let load = Load {
        address: gateway.address,
        pace: Pace::ClosedLoop,
        warm_up: Duration::ZERO,
        length: Duration::from_secs(600),
        traced: false,
    };
    load.run(stock(connections, shots)).await
}

impl Scale {
    /// One measurement of a round.
    fn load(&self, address: std::net::SocketAddr, pace: Pace) -> Load {
        Load { address, pace, warm_up: self.warm_up, length: self.length, traced: false }
    }
}
