//! Failed sign-ins of an address that there is, with a wrong password, beside those of one that there is not: whoever
//! listens to the clock learns nothing.

use std::time::Instant;

use serde_json::json;

use crate::Result;
use crate::client::Connection;
use crate::processes::Gateway;
use crate::report::Report;
use crate::requests;
use crate::scale::Scale;
use crate::statistics::ratio_of_medians;
use crate::world::World;

/// Of each kind, for each round of the scale.
const PER_ROUND: usize = 10;

pub async fn measure(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    // So many failures would be turned away.
    let gateway = Gateway::start(world, &[("NARTHEX_LIMITS__ENABLED", "false")]).await?;
    let mut caller = Connection::open(gateway.address).await?;
    let (mut known, mut unknown) = (vec![], vec![]);
    let mut random = fastrand::Rng::with_seed(1);
    for n in 0..scale.rounds * PER_ROUND {
        // Which comes first is left to chance, so that no rhythm of the machine belongs to one of them.
        let order = if random.bool() { [true, false] } else { [false, true] };
        for is_known in order {
            let email = match is_known {
                true => world.tenants[n % world.tenants.len()].owner.clone(),
                false => format!("nobody{n}@example.org"),
            };
            let body = json!({"email": email, "password": "not the password"}).to_string();
            let login = requests::with_body("POST", "/v1/auth/login", None, &body);
            let began = Instant::now();
            let status = caller.call(&login).await?.status;
            let took = began.elapsed().as_secs_f64() * 1000.0;
            report.require(status == 401, "a wrong password is not simply refused");
            if is_known { known.push(took) } else { unknown.push(took) }
        }
    }
    let ratio = ratio_of_medians(&known, &unknown);
    report.require(ratio.low <= 1.01 && ratio.high >= 0.99, "the clock tells who there is");
    report.row("Failed sign-in, the address is somebody's", "ms", known, None);
    report.row("Failed sign-in, the address is nobody's", "ms", unknown, None);
    report.ratio("Time of a failed sign-in: somebody's address to nobody's", ratio, None);
    gateway.stop().await
}
