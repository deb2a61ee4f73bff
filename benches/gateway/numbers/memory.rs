//! Memory, and what is left of tenants that nobody calls.

use std::time::{Duration, Instant};

use crate::Result;
use crate::numbers::visit;
use crate::processes::Gateway;
use crate::report::{Goal, Report};
use crate::scale::Scale;
use crate::world::World;

const MEGABYTE: f64 = 1024.0 * 1024.0;
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE: (&str, &str) = ("NARTHEX_ROUTER__IDLE_TIMEOUT", "3s");
/// The reaper comes round four times in an idle timeout.
const GRACE: Duration = Duration::from_secs(3);
const GIVE_UP: Duration = Duration::from_secs(60);

pub async fn measure(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let many = scale.warm.min(world.tenants.len());
    let (mut start, mut one, mut all) = (vec![], vec![], vec![]);
    for _ in 0..scale.rounds.min(3) {
        let gateway = Gateway::start(world, &[]).await?;
        start.push(gateway.resident()? / MEGABYTE);
        visit(&gateway, world, 0..1).await?;
        one.push(gateway.resident()? / MEGABYTE);
        visit(&gateway, world, 0..many).await?;
        all.push(gateway.resident()? / MEGABYTE);
        let open = world.connections(None).await?;
        report.require(open == many as i64, &format!("{open} connections for {many} pools of one"));
        gateway.stop().await?;
    }
    report.row("Resident memory after the start", "MB", start, None);
    report.row("... with one open pool", "MB", one, None);
    let what = format!("... with {many} open pools of one connection");
    report.row(&what, "MB", all, Some(Goal::Below(60.0)));
    known(world, scale, report).await
}

/// As many pools are opened and closed for few tenants as for all of them; what the memory then differs by is
/// what the gateway knows of the others (the look-up, and one token each).
async fn known(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let (few, all) = (scale.warm / 2, world.tenants.len());
    let cap = (few / 5).to_string();
    let mut costs = Vec::new();
    let (mut before, mut after) = (0.0, 0.0);
    for _ in 0..scale.rounds.min(3) {
        let settings = [IDLE, ("NARTHEX_ROUTER__MAX_OPEN_TENANTS", cap.as_str())];
        let gateway = Gateway::start(world, &settings).await?;
        for _ in 0..all.div_ceil(few) {
            visit(&gateway, world, 0..few).await?;
        }
        until_idle(world).await?;
        before = gateway.resident()?;
        visit(&gateway, world, 0..all).await?;
        until_idle(world).await?;
        after = gateway.resident()?;
        costs.push((after - before) / (all - few) as f64);
        gateway.stop().await?;
    }
    report.row("Memory of a known idle tenant", "bytes", costs, Some(Goal::Below(2048.0)));
    report.note(format!(
        "resident with {few} known tenants {:.1} MB, with {all} {:.1} MB, no pool open (last round)",
        before / MEGABYTE,
        after / MEGABYTE
    ));
    Ok(())
}

pub async fn idle(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let many = scale.warm.min(world.tenants.len());
    let gateway = Gateway::start(world, &[IDLE]).await?;
    let (mut left, mut until) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds.min(3) {
        report.require_all_good("visiting", &visit(&gateway, world, 0..many).await?);
        let last_use = Instant::now();
        tokio::time::sleep(IDLE_TIMEOUT + GRACE).await;
        left.push(world.connections(None).await? as f64);
        until_idle(world).await?;
        until.push(last_use.elapsed().as_secs_f64());
    }
    let seconds = (IDLE_TIMEOUT + GRACE).as_secs();
    let what = format!("{many} tenants idle for {seconds} s (timeout 3 s): connections left");
    report.row(&what, "", left, Some(Goal::Zero));
    report.row("... none left after at most", "s", until, None);
    gateway.stop().await
}

/// Until no role of a tenant has a connection.
async fn until_idle(world: &World) -> Result<()> {
    let limit = Instant::now() + GIVE_UP;
    while world.connections(None).await? > 0 {
        if Instant::now() > limit {
            return Err("connections of idle tenants stay open".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
