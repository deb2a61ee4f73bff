//! One row by its key, authenticated: the floor, the gateway with one warm tenant, the gateway with many. Beside them
//! three more floors: one has three connections, which on few cores is faster than ten, and ratios are taken of the
//! faster of the two; one lends a connection to one request at a time, and tells what pipelining is worth, which
//! connections that belong to one request cannot have; one has as many databases, and tells what these cost the
//! server itself.

use crate::Result;
use crate::client::Connection;
use crate::load::Pace;
use crate::numbers::{reads, visit};
use crate::processes::{Floor, Gateway};
use crate::report::{Goal, Report};
use crate::scale::Scale;
use crate::world::World;

pub async fn measure(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let gateway = Gateway::start(world, &[]).await?;
    let floor = Floor::start(world).await?;
    let in_turn = Floor::start_in_turn(world).await?;
    let many = scale.warm.min(world.tenants.len());
    let on_many = Floor::start_on_many(world, many).await?;
    let with_few = Floor::start_with_few(world).await?;
    compare_answers(world, &gateway, &floor).await?;
    report.require_all_good("opening the pools", &visit(&gateway, world, 0..many).await?);

    let sides = [
        (floor.address, 1),
        (gateway.address, 1),
        (gateway.address, many),
        (in_turn.address, 1),
        (on_many.address, many),
        (with_few.address, 1),
    ];
    let (mut rates, mut middles, mut slow) =
        (vec![vec![]; sides.len()], vec![vec![]; sides.len()], vec![vec![]; sides.len()]);
    // One round more than is counted: in the first one, the pools of many tenants still grow.
    for round in 0..=scale.rounds {
        // Every side is the first in turn.
        for side in (0..sides.len()).map(|place| (place + round) % sides.len()) {
            let (address, tenants) = sides[side];
            let sources = reads(world, tenants, scale.connections, round as u64);
            let tally = scale.load(address, Pace::ClosedLoop).run(sources).await?;
            report.require_all_good("reading", &tally);
            if round == 0 {
                continue;
            }
            rates[side].push(tally.rate());
            middles[side].push(tally.percentile(0.5));
            slow[side].push(tally.percentile(0.99));
        }
    }
    let ratios = |of: usize, to: usize| {
        rates[of].iter().zip(&rates[to]).map(|(of, to)| of / to).collect::<Vec<f64>>()
    };
    let best: Vec<f64> = rates[0].iter().zip(&rates[5]).map(|(a, b)| a.max(*b)).collect();
    let of_best =
        |of: usize| rates[of].iter().zip(&best).map(|(of, to)| of / to).collect::<Vec<f64>>();
    let (one, spread, of_in_turn) = (of_best(1), ratios(2, 1), ratios(1, 3));
    let (floors, of_many, few) = (of_best(4), ratios(2, 4), ratios(5, 0));
    let names = [
        "floor".to_owned(),
        "one warm tenant".to_owned(),
        format!("{many} warm tenants"),
        "floor without pipelining".to_owned(),
        format!("floor with {many} databases"),
        "floor with three connections".to_owned(),
    ];
    let clients = scale.connections;
    for (side, name) in names.iter().enumerate() {
        report.row(&format!("Read, {clients} clients: {name}"), "/s", rates[side].clone(), None);
        report.row(&format!("... p50: {name}"), "ms", middles[side].clone(), None);
        report.row(&format!("... p99: {name}"), "ms", slow[side].clone(), None);
    }
    report.row("Read: one tenant, of the faster floor", "", one, Some(Goal::AtLeast(0.65)));
    let what = format!("Read: {many} tenants, of one tenant");
    report.row(&what, "", spread, Some(Goal::AtLeast(0.9)));
    report.row("Read: one tenant, of the floor without pipelining", "", of_in_turn, None);
    report.row("Read: floor with three connections, of the floor with ten", "", few, None);
    report.row(
        &format!("Read: floor with {many} databases, of the faster floor"),
        "",
        floors,
        None,
    );
    let what = format!("Read: {many} tenants, of the floor with {many} databases");
    report.row(&what, "", of_many, None);
    with_few.stop().await?;
    on_many.stop().await?;
    in_turn.stop().await?;
    floor.stop().await?;
    gateway.stop().await
}

/// Both must do the same work, or the ratio says nothing.
async fn compare_answers(world: &World, gateway: &Gateway, floor: &Floor) -> Result<()> {
    let request = &world.tenants[0].read.bytes;
    let mut bodies = Vec::new();
    for address in [gateway.address, floor.address] {
        let mut connection = Connection::open(address).await?;
        bodies.push(String::from_utf8_lossy(connection.call(request).await?.body).into_owned());
    }
    if bodies[0] == bodies[1] {
        return Ok(());
    }
    Err(format!("the gateway answers {}\nand the floor {}", bodies[0], bodies[1]).into())
}
