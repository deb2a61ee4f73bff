//! What happens to the others when something breaks.

use crate::Result;
use crate::report::Report;
use crate::scale::Scale;
use crate::world::World;

mod disconnects;
mod floods;
mod idle_ended;
mod killed;
mod logins;
mod neighbours;
mod revoked;
mod stale;

pub const PARTS: &[&str] = &[
    "stale",
    "revoked",
    "idle_ended",
    "killed",
    "refusing",
    "crowding",
    "disconnects",
    "logins",
    "floods",
];

pub async fn run(part: &str, world: &mut World, scale: &Scale, report: &mut Report) -> Result<()> {
    report.begin(part);
    match part {
        "stale" => stale::run(world, scale, report).await,
        "revoked" => revoked::run(world, scale, report).await,
        "idle_ended" => idle_ended::run(world, scale, report).await,
        "killed" => killed::run(world, scale, report).await,
        "refusing" => neighbours::refusing(world, scale, report).await,
        "floods" => floods::run(world, scale, report).await,
        "logins" => logins::run(world, scale, report).await,
        "crowding" => neighbours::crowding(world, scale, report).await,
        _ => disconnects::run(world, scale, report).await,
    }
}
