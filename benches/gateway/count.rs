//! What one read costs in instructions and allocations, counted and not timed: the gateway beside the floor.

use std::net::SocketAddr;
use std::time::Instant;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::callgrind::{Callgrind, Profile};
use crate::client::{Connection, find};
use crate::processes::{Floor, Gateway};
use crate::world::World;
use crate::{Failure, Result, progress};

/// Reads of a round, one after the other.
const READS: u32 = 500;
/// Whatever else a process does in a round only adds to it: the least round counts.
const ROUNDS: usize = 5;
/// Before the first round: the tenant and the caller are remembered then, and the statement is prepared.
const WARM_UP: u32 = 300;

/// The most that one read may cost the gateway.
const MOST_INSTRUCTIONS: u64 = 60_000;
const MOST_ALLOCATIONS: u64 = 45;

/// The digest of the access token is left out of all counts: it takes 18,000 instructions on valgrind's processor, which
/// lacks those for SHA-256, and about a thousand on one that has them.
const DIGEST: &str = "sha256_block_data_order";
/// A job that opens a connection for itself in the middle of a round has nothing to do with the reads, and pays some ten
/// million for its password.
const OPENING: &str = "sqlx_postgres::connection::establish::";
const HANDLER: &str = "as axum::handler::Handler<";
/// The layer around each route, and its name in older programs.
const ENVELOPE: [&str; 2] = ["http::middleware::Enveloped<", "middleware::from_fn::FromFn<"];

/// What to count: functions with all that they call, without certain others that they call.
struct Step {
    what: &'static str,
    of: &'static [&'static str],
    without: &'static [&'static str],
}

const STEPS: [Step; 9] = [
    step("Statement (sqlx)", &["postgres::session::Session<S>::run::"], &[]),
    step("Layer around the routes", &ENVELOPE, &[HANDLER]),
    step(
        "... rate-limit headers",
        &["http::limits::Limits::describe", "http::limits::describe"],
        &[],
    ),
    step("Row to model", &["messaging::members::by_place"], &[]),
    step("Caller, tenant and rights", &["access::Authorized<P> as"], &[DIGEST]),
    step("... limiter", &["limits::Limiter<K>::take"], &[]),
    step("Connection of the tenant", &["access::Access::connect::"], &[]),
    step("... bb8", &["bb8::api::Pool<M>::get_owned::"], &[]),
    step("Timers", &["time::sleep::Sleep as core::future"], &[]),
];

const fn step(
    what: &'static str,
    of: &'static [&'static str],
    without: &'static [&'static str],
) -> Step {
    Step { what, of, without }
}

/// One round: while the reads were made, and while as much time passed without them.
struct Round {
    busy: Profile,
    idle: Profile,
}

impl Round {
    /// Of each read.
    fn of(&self, count: impl Fn(&Profile) -> u64) -> u64 {
        count(&self.busy).saturating_sub(count(&self.idle)) / u64::from(READS)
    }

    fn instructions(&self) -> u64 {
        self.of(counted)
    }

    fn allocations(&self) -> u64 {
        self.of(Profile::allocations)
    }

    fn step(&self, step: &Step) -> u64 {
        self.of(|profile| {
            inclusive(profile, step.of).saturating_sub(inclusive(profile, step.without))
        })
    }
}

/// Of a round, without what does not belong to the reads.
fn counted(profile: &Profile) -> u64 {
    profile.instructions().saturating_sub(inclusive(profile, &[DIGEST, OPENING]))
}

fn inclusive(profile: &Profile, parts: &[&str]) -> u64 {
    profile.inclusive(|name| parts.iter().any(|part| name.contains(part)))
}

/// `false`: a read costs more than it may.
pub async fn run() -> Result<bool> {
    let world = World::make(1, &[]).await?;
    progress("counting the floor");
    let mut callgrind = Callgrind::new("floor")?;
    let floor = Floor::start_under(&callgrind, &world).await?;
    let of_floor = count(&mut callgrind, floor.pid(), floor.address, &world).await?;
    floor.stop().await?;
    progress("counting the gateway");
    let mut callgrind = Callgrind::new("gateway")?;
    let gateway = Gateway::start_under(&callgrind, &world).await?;
    let of_gateway = count(&mut callgrind, gateway.pid(), gateway.address, &world).await?;
    gateway.stop().await?;
    print(&of_gateway, &of_floor);
    let holds = of_gateway.instructions() <= MOST_INSTRUCTIONS
        && of_gateway.allocations() <= MOST_ALLOCATIONS;
    if !holds {
        eprintln!(
            "bench: a read may cost the gateway {MOST_INSTRUCTIONS} instructions and {MOST_ALLOCATIONS} allocations \
             at most"
        );
    }
    Ok(holds)
}

async fn count(
    callgrind: &mut Callgrind,
    pid: u32,
    address: SocketAddr,
    world: &World,
) -> Result<Round> {
    let read = &world.tenants[0].read;
    let mut connection = Connection::open(address).await?;
    let mut reads = async |count: u32| {
        for _ in 0..count {
            let answer = connection.call(&read.bytes).await?;
            if answer.status != 200 || find(answer.body, &read.must_hold).is_none() {
                let said = String::from_utf8_lossy(answer.body);
                return Err(format!("a read was answered {} {said}", answer.status).into());
            }
        }
        Ok::<_, Failure>(())
    };
    reads(WARM_UP).await?;
    callgrind.begin(pid).await?;
    reads(WARM_UP).await?;
    callgrind.read(pid).await?;
    let (mut busy, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        reads(READS).await?;
        let took = begun.elapsed();
        busy.push(callgrind.read(pid).await?);
        tokio::time::sleep(took).await;
        idle.push(callgrind.read(pid).await?);
    }
    let least = |profiles: Vec<Profile>| profiles.into_iter().min_by_key(counted).ok_or("no round");
    Ok(Round { busy: least(busy)?, idle: least(idle)? })
}

/// In the form of Markdown, for docs/performance.md.
fn print(gateway: &Round, floor: &Round) {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(["Of one read", "Gateway", "Floor", "At most"]);
    for column in 1..=3 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let row = |what: &str, of_gateway: u64, of_floor: String, most: String| {
        [what.to_owned(), of_gateway.to_string(), of_floor, most]
    };
    let (most, floors) = (MOST_INSTRUCTIONS.to_string(), floor.instructions().to_string());
    table.add_row(row("Instructions in user space", gateway.instructions(), floors, most));
    let (most, floors) = (MOST_ALLOCATIONS.to_string(), floor.allocations().to_string());
    table.add_row(row("Allocations", gateway.allocations(), floors, most));
    for step in &STEPS {
        table.add_row(row(step.what, gateway.step(step), String::new(), String::new()));
    }
    println!("{table}");
}
