//! Clients that leave at any moment, on rows that tell whose they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{Connection, find};
use crate::processes::Gateway;
use crate::report::{Goal, Report, counts};
use crate::scale::Scale;
use crate::world::{Tenant, World};
use crate::{Failure, Result, requests};

const TENANTS: usize = 20;
const CLIENTS: usize = 48;
/// The default of `router.max_connections_per_tenant`.
const POOL: i64 = 10;
/// The longest that a client waits before it leaves without its answer.
const WAIT_MICROSECONDS: u64 = 3000;
/// The whole part gives up after this.
const LIMIT: Duration = Duration::from_secs(900);
const IDLE: (&str, &str) = ("NARTHEX_ROUTER__IDLE_TIMEOUT", "3s");
const IDLE_GRACE: Duration = Duration::from_secs(20);

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    outcomes: BTreeMap<String, u64>,
    strangers: Vec<String>,
}

impl Seen {
    fn count(&mut self, what: &str) {
        *self.outcomes.entry(what.to_owned()).or_default() += 1;
    }
}

pub async fn run(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let mut gateway = Gateway::start(world, &[IDLE]).await?;
    let tenants: Arc<[Tenant]> = world.tenants[..TENANTS].into();
    let left = Arc::new(AtomicUsize::new(scale.disconnects));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for index in 0..CLIENTS {
        let (tenants, left, address) = (tenants.clone(), left.clone(), gateway.address);
        clients.spawn(async move {
            let mut random = Rng::with_seed(index as u64);
            let (mut seen, mut kept) = (Seen::default(), None);
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                let tenant = &tenants[random.usize(..TENANTS)];
                call(address, tenant, &mut random, &mut kept, &mut seen).await;
            }
            Ok::<_, Failure>(seen)
        });
    }
    let mut all = Seen::default();
    let done = tokio::time::timeout(LIMIT, async {
        while let Some(seen) = clients.join_next().await {
            let seen = seen??;
            all.strangers.extend(seen.strangers);
            for (what, count) in seen.outcomes {
                *all.outcomes.entry(what).or_default() += count;
            }
        }
        Ok::<_, Failure>(())
    });
    done.await??;
    let took = start.elapsed().as_secs_f64();
    let open = world.connections(None).await?;

    let first = all.strangers.first().cloned().unwrap_or_default();
    report.require(
        all.strangers.is_empty(),
        &format!("an answer with another tenant's row: {first}"),
    );
    report.require(gateway.lives(), "the gateway ended");
    let most = TENANTS as i64 * POOL;
    report.require(open <= most, &format!("{open} connections, and the pools may have {most}"));
    let failed = every_tenant_answers(&gateway, &tenants).await?;
    report.require(failed.is_empty(), &format!("afterwards tenants do not answer: {failed:?}"));
    let foreign = foreign_rows(world).await?;
    report.require(foreign == 0, &format!("{foreign} rows with the name of another tenant"));
    let idle = connections_when_idle(world).await?;
    report.require(idle == 0, &format!("{idle} connections are left after the idle timeout"));

    report.note(format!(
        "{} requests of {CLIENTS} clients over {TENANTS} tenants in {took:.0} s (reads, lists, changes), four of five left by their client: \
         before, while and after they were sent, and while the answer was due; half of those with a reset",
        scale.disconnects
    ));
    report.note(format!("seen: {}", counts(&all.outcomes)));
    let strangers = all.strangers.len() as f64 + foreign as f64;
    report.row("Clients that leave: rows of another tenant", "", vec![strangers], Some(Goal::Zero));
    report.row(
        &format!("... connections right afterwards (at most {most})"),
        "",
        vec![open as f64],
        None,
    );
    report.row("... connections after the idle timeout", "", vec![idle as f64], Some(Goal::Zero));
    gateway.stop().await
}

/// One request, finished or not.
async fn call(
    address: SocketAddr,
    tenant: &Tenant,
    random: &mut Rng,
    kept: &mut Option<Connection>,
    seen: &mut Seen,
) {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => match Connection::open(address).await {
            Ok(connection) => connection,
            Err(error) => {
                // Out of local ports, say: they come back.
                seen.count(&format!("no connection: {}", error.kind()));
                tokio::time::sleep(Duration::from_millis(50)).await;
                return;
            }
        },
    };
    let request = request(tenant, random);
    let reset = random.bool();
    match random.u8(..5) {
        0 => seen.count("left before"),
        1 => {
            let _ = connection.send(&request[..random.usize(1..request.len())]).await;
            seen.count("left while sending");
        }
        2 => {
            let _ = connection.send(&request).await;
            seen.count("left after sending");
        }
        3 => {
            let _ = connection.send(&request).await;
            tokio::time::sleep(Duration::from_micros(random.u64(..WAIT_MICROSECONDS))).await;
            seen.count("left while waiting");
        }
        _ => {
            match connection.call(&request).await {
                Err(error) => {
                    seen.count(&format!("broken connection: {}", error.kind()));
                    return;
                }
                Ok(answer) if answer.status == 200 => {
                    seen.count("answered 200");
                    if find(answer.body, tenant.tag.as_bytes()).is_none() {
                        seen.strangers.push(String::from_utf8_lossy(answer.body).into_owned());
                    }
                }
                Ok(answer) => seen.count(&format!("{} {}", answer.status, answer.code())),
            }
            *kept = Some(connection);
            return;
        }
    }
    connection.leave(reset);
}

/// Reads the member, lists all members, or changes the member's last name to what belongs to its tenant alone.
fn request(tenant: &Tenant, random: &mut Rng) -> Vec<u8> {
    let token = Some(tenant.token.as_str());
    match random.u8(..4) {
        0 => requests::get("/v1/members?limit=5", token),
        1 => {
            let change = json!({ "last_name": tenant.tag }).to_string();
            requests::with_body("PATCH", &format!("/v1/members/{}", tenant.member), token, &change)
        }
        _ => tenant.read.bytes.clone(),
    }
}

/// Those that do not.
async fn every_tenant_answers(gateway: &Gateway, tenants: &[Tenant]) -> Result<Vec<String>> {
    let mut failed = Vec::new();
    let mut connection = Connection::open(gateway.address).await?;
    for tenant in tenants {
        let answer = connection.call(&tenant.read.bytes).await?;
        if answer.status != 200 || find(answer.body, tenant.tag.as_bytes()).is_none() {
            failed.push(format!("{} {}", answer.status, answer.code()));
        }
    }
    Ok(failed)
}

/// Members that bear another tenant's name, in the databases themselves.
async fn foreign_rows(world: &World) -> Result<i64> {
    let mut foreign = 0;
    for tenant in &world.tenants[..TENANTS] {
        let client = world.connect(&tenant.database).await?;
        let sql = "SELECT count(*) FROM members \
                   WHERE first_name <> $1 OR last_name NOT IN ($1, 'Miller')";
        foreign += client.query_one(sql, &[&tenant.tag]).await?.get::<_, i64>(0);
    }
    Ok(foreign)
}

async fn connections_when_idle(world: &World) -> Result<i64> {
    let limit = Instant::now() + IDLE_GRACE;
    loop {
        let open = world.connections(None).await?;
        if open == 0 || Instant::now() > limit {
            return Ok(open);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
