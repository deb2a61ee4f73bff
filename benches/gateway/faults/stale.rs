//! A tenant is suspended in the registry: for how long do two replicas still begin its requests?

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::Connection;
use crate::processes::Gateway;
use crate::report::{Goal, Report};
use crate::scale::Scale;
use crate::world::World;

/// Nobody waits longer for a replica to notice.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

pub async fn run(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let (one, two) = (Gateway::start(world, &[]).await?, Gateway::start(world, &[]).await?);
    let registry = world.connect("narthex_registry").await?;
    let tenant = &world.tenants[0];
    let change = "UPDATE tenants SET status = $2 WHERE database_name = $1";
    let mut windows = vec![];
    for _ in 0..scale.suspensions {
        registry.execute(change, &[&tenant.database, &"active"]).await?;
        let mut first = served(one.address, &tenant.read.bytes).await?;
        let mut second = served(two.address, &tenant.read.bytes).await?;
        registry.execute(change, &[&tenant.database, &"suspended"]).await?;
        let committed = Instant::now();
        let (first, second) = tokio::join!(
            last_served(&mut first, &tenant.read.bytes, 403, committed),
            last_served(&mut second, &tenant.read.bytes, 403, committed)
        );
        for last in [first?, second?] {
            report.require(last < LIMIT, "a suspended tenant is served on");
            windows.push(last.as_secs_f64() * 1000.0);
        }
    }
    registry.execute(change, &[&tenant.database, &"active"]).await?;
    let most = windows.iter().copied().fold(0.0, f64::max);
    report.note(format!(
        "a tenant suspended by SQL {} times, while a client of each of two replicas reads without a pause",
        scale.suspensions
    ));
    let what = "Suspended tenant: its last good request began after the commit";
    report.row(what, "ms", windows, None);
    report.row("... at most", "ms", vec![most], Some(Goal::Below(1000.0)));
    one.stop().await?;
    two.stop().await
}

/// A connection on which a request is served.
pub(super) async fn served(address: SocketAddr, read: &[u8]) -> Result<Connection> {
    let mut connection = Connection::open(address).await?;
    let start = Instant::now();
    while connection.call(read).await?.status != 200 {
        if start.elapsed() > LIMIT {
            return Err("a good request is not served".into());
        }
    }
    Ok(connection)
}

/// How long after `since` the last request began that was still served, and not answered with `refused`.
pub(super) async fn last_served(
    connection: &mut Connection,
    read: &[u8],
    refused: u16,
    since: Instant,
) -> Result<Duration> {
    let mut last = Duration::ZERO;
    loop {
        let begun = since.elapsed();
        match connection.call(read).await?.status {
            200 => last = begun,
            status if status == refused => return Ok(last),
            other => return Err(format!("a request that is to be refused gets {other}").into()),
        }
        if begun > LIMIT {
            return Ok(begun);
        }
    }
}
