//! A flood of sign-ins, each of which costs a password hash: what do others notice, and how much memory does it take?

use std::sync::Arc;

use serde_json::json;

use crate::Result;
use crate::load::{Load, Pace, drawing};
use crate::processes::Gateway;
use crate::report::{Goal, Report};
use crate::requests::{self, Shot};
use crate::scale::Scale;
use crate::world::World;

/// Connections that sign in without a pause, with wrong passwords.
const FLOOD: usize = 200;
/// Reads of the others, in a second.
const READS: f64 = 500.0;
const MIB: f64 = 1024.0 * 1024.0;

pub async fn run(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    // The worst case: nobody is turned away for guessing.
    let gateway = Gateway::start(world, &[("NARTHEX_LIMITS__ENABLED", "false")]).await?;
    let shots: Arc<[Arc<Shot>]> =
        world.tenants.iter().take(scale.warm).map(|t| t.read.clone()).collect();
    let at = |pace| Load {
        address: gateway.address,
        pace,
        warm_up: scale.warm_up,
        length: scale.length,
        traced: false,
    };
    let reading = |seed| {
        let shots = shots.clone();
        let choose = move |random: &mut fastrand::Rng| shots[random.usize(..shots.len())].clone();
        at(Pace::PerSecond(READS)).run(drawing(16, seed, choose))
    };
    reading(0).await?;
    let (mut calm, mut flooded, mut memory) = (vec![], vec![], vec![]);
    for round in 1..=scale.rounds as u64 {
        calm.push(reading(round).await?.percentile(0.99));
        let flood = drawing(FLOOD, round, |random| {
            let email = format!("nobody{}@example.org", random.u32(..));
            let body = json!({"email": email, "password": "not the password"}).to_string();
            Arc::new(Shot {
                tenant: 0,
                bytes: requests::with_body("POST", "/v1/auth/login", None, &body),
                // Refused as wrong, or for want of a turn: both are answers.
                must_hold: b"\"code\"".to_vec(),
                tagged: false,
            })
        });
        let (read, _) = tokio::try_join!(reading(round), at(Pace::ClosedLoop).run(flood))?;
        report.require_all_good("reading while others sign in", &read);
        flooded.push(read.percentile(0.99));
        memory.push(gateway.resident()? / MIB);
    }
    report.note(format!(
        "{FLOOD} clients sign in without a pause, while others read {READS} times a second"
    ));
    report.row("A read while nobody signs in: p99", "ms", calm, None);
    report.row("A read in the flood of sign-ins: p99", "ms", flooded, Some(Goal::Below(100.0)));
    report.row("Memory in the flood", "MiB", memory, Some(Goal::Below(200.0)));
    gateway.stop().await
}
