//! New tenants: with a spare database ready, without one, and many in a row. Beside it what cannot be done without: the
//! password hash, and on the server a role, a copy of the template and a first connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use narthex::configuration::Argon2Settings;
use narthex::identifiers::unguessable_id;
use narthex::passwords::Passwords;
use serde_json::json;
use tokio_postgres::NoTls;

use crate::load::{Load, Pace, Tally, stock};
use crate::numbers::all_of;
use crate::processes::Gateway;
use crate::report::{Goal, Report};
use crate::requests::{self, Shot};
use crate::scale::Scale;
use crate::statistics::median;
use crate::world::{PASSWORD, World};
use crate::{Result, progress};

/// A second, sustained.
const PACE: f64 = 20.0;
/// Connections that register at that pace, and as fast as they can.
const CLIENTS: usize = 16;
const AT_ONCE: usize = 4;
const WITH_SPARE: f64 = 100.0;
const WITHOUT: f64 = 500.0;

pub async fn measure(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let passwords = Passwords::new(&Argon2Settings::default())?;
    let mut hash = Vec::new();
    for _ in 0..scale.registrations {
        let start = Instant::now();
        passwords.hash(PASSWORD.into()).await?;
        hash.push(milliseconds(start));
    }
    let hash = (median(&hash), high(&hash));
    report.row("Password hash with the default cost: p50", "ms", vec![hash.0], None);
    report.row("... p99", "ms", vec![hash.1], None);

    let bare_gateway = Gateway::start(world, &[("NARTHEX_PROVISIONING__SPARES", "0")]).await?;
    world.execute("SELECT 1").await?;
    empty(world).await?;
    let mut bare = vec![vec![]; 2];
    let mut copied = vec![vec![]; 2];
    for _ in 0..scale.rounds {
        let mut times = Vec::new();
        for _ in 0..scale.registrations {
            let start = Instant::now();
            make_barely(world).await?;
            times.push(milliseconds(start));
        }
        bare[0].push(median(&times));
        bare[1].push(high(&times));
        let tally = all_of(&bare_gateway, 1, shots(scale.registrations)).await?;
        report.require_all_good("registrations", &tally);
        copied[0].push(tally.percentile(0.5));
        copied[1].push(tally.percentile(0.99));
    }
    let mut rates = Vec::new();
    for _ in 0..scale.rounds {
        let tally = all_of(&bare_gateway, AT_ONCE, shots(scale.registrations * 2)).await?;
        report.require_all_good("registrations", &tally);
        rates.push(tally.rate());
    }
    bare_gateway.stop().await?;

    let spares = scale.registrations.to_string();
    let gateway = Gateway::start(world, &[("NARTHEX_PROVISIONING__SPARES", &spares)]).await?;
    let mut renamed = vec![vec![]; 2];
    for round in 0..scale.rounds {
        progress(&format!("round {} of registrations with spares", round + 1));
        are_ready(world, scale.registrations).await?;
        let tally = all_of(&gateway, 1, shots(scale.registrations)).await?;
        report.require_all_good("registrations", &tally);
        renamed[0].push(tally.percentile(0.5));
        renamed[1].push(tally.percentile(0.99));
    }
    gateway.stop().await?;

    let gateway = Gateway::start(world, &[]).await?;
    let tally = sustained(&gateway, scale).await?;
    report.require_all_good("registrations", &tally);
    gateway.stop().await?;

    let bare_what = "Baseline (bare role, copy and connection): p50";
    report.row(bare_what, "ms", bare[0].clone(), None);
    report.row("... p99", "ms", bare[1].clone(), None);
    report.row("Registration, no spare: p50", "ms", copied[0].clone(), None);
    report.row("... p99", "ms", copied[1].clone(), Some(Goal::Below(WITHOUT + hash.0)));
    report.row("Registration, spare ready: p50", "ms", renamed[0].clone(), None);
    report.row("... p99", "ms", renamed[1].clone(), Some(Goal::Below(WITH_SPARE + hash.0)));
    let what = format!("Registrations a second, {AT_ONCE} clients, no spare");
    report.row(&what, "/s", rates, Some(Goal::AtLeast(PACE)));
    let what = format!("Registrations at {PACE} a second for {} s: done a second", scale.sustained);
    report.row(&what, "/s", vec![tally.rate()], Some(Goal::AtLeast(PACE * 0.98)));
    report.row("... p50", "ms", vec![tally.percentile(0.5)], None);
    report.row("... p99", "ms", vec![tally.percentile(0.99)], None);
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn high(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)]
}

async fn sustained(gateway: &Gateway, scale: &Scale) -> Result<Tally> {
    let length = Duration::from_secs(scale.sustained);
    let count = (PACE * length.as_secs_f64()) as usize;
    let pace = Pace::PerSecond(PACE);
    let load = Load { warm_up: Duration::ZERO, length, ..scale.load(gateway.address, pace) };
    load.run(stock(CLIENTS, shots(count))).await
}

/// Registrations that nobody has sent yet.
fn shots(count: usize) -> Vec<Arc<Shot>> {
    let shot = |_| {
        let unique = unguessable_id().simple().to_string();
        let body = json!({
            "organization_name": format!("Church {unique}"),
            "email": format!("{unique}@example.org"),
            "password": PASSWORD,
            "first_name": "Ada",
            "last_name": "Lovelace",
        });
        Arc::new(Shot {
            tenant: 0,
            bytes: requests::with_body("POST", "/v1/auth/register", None, &body.to_string()),
            must_hold: b"\"access_token\"".to_vec(),
            tagged: false,
        })
    };
    (0..count).map(shot).collect()
}

async fn ready(world: &World) -> Result<usize> {
    let registry = world.connect("narthex_registry").await?;
    let sql = "SELECT count(*) FROM spare_databases WHERE state = 'ready'";
    let count: i64 = registry.query_one(sql, &[]).await?.get(0);
    Ok(usize::try_from(count)?)
}

async fn are_ready(world: &World, count: usize) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(120);
    while ready(world).await? < count {
        if Instant::now() > limit {
            return Err("the spares are not made".into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Spares that another gateway has made are not to be found.
async fn empty(world: &World) -> Result<()> {
    let registry = world.connect("narthex_registry").await?;
    Ok(registry.batch_execute("DELETE FROM spare_databases").await?)
}

/// What a new tenant's database takes on the server itself.
async fn make_barely(world: &World) -> Result<()> {
    let client = world.connect("postgres").await?;
    let name = format!("bare_{}", unguessable_id().simple());
    let template: String = client
        .query_one(
            "SELECT datname::text FROM pg_database WHERE datname LIKE 'narthex_template_%'",
            &[],
        )
        .await?
        .get(0);
    client.batch_execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'bare'")).await?;
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
    client.batch_execute(&format!("GRANT narthex_tenant TO {name}")).await?;
    let url = world.url(&name);
    let rest = url.split_once('@').ok_or("a URL without a user")?.1.to_owned();
    let url = format!("postgres://{name}:bare@{rest}");
    let (own, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    own.query("SELECT 1 FROM roles", &[]).await?;
    Ok(())
}
