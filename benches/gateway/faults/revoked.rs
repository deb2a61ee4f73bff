//! Somebody signs out at one replica: for how long does the other still begin requests with their token?

use std::time::Instant;

use serde_json::{Value, json};

use super::stale::{LIMIT, last_served, served};
use crate::Result;
use crate::client::Connection;
use crate::processes::Gateway;
use crate::report::{Goal, Report};
use crate::requests;
use crate::scale::Scale;
use crate::world::{PASSWORD, World};

pub async fn run(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    let (one, two) = (Gateway::start(world, &[]).await?, Gateway::start(world, &[]).await?);
    let mut caller = Connection::open(one.address).await?;
    let member = &world.tenants[0].member;
    let mut windows = vec![];
    for _ in 0..scale.suspensions {
        let credentials =
            json!({"email": world.tenants[0].owner, "password": PASSWORD}).to_string();
        let login = requests::with_body("POST", "/v1/auth/login", None, &credentials);
        let session: Value = serde_json::from_slice(caller.call(&login).await?.body)?;
        let token = session["access_token"].as_str().ok_or("nobody is signed in")?;
        let read = requests::get(&format!("/v1/members/{member}"), Some(token));
        let mut other = served(two.address, &read).await?;
        let logout = requests::with_body("POST", "/v1/auth/logout", Some(token), "{}");
        report.require(caller.call(&logout).await?.status == 204, "a session cannot be ended");
        let last = last_served(&mut other, &read, 401, Instant::now()).await?;
        report.require(last < LIMIT, "an ended session is served on");
        windows.push(last.as_secs_f64() * 1000.0);
    }
    let most = windows.iter().copied().fold(0.0, f64::max);
    report.note(format!(
        "{} sessions ended at one replica, while their client reads at another without a pause",
        scale.suspensions
    ));
    report.row("Ended session: its last good request at the other replica", "ms", windows, None);
    report.row("... at most", "ms", vec![most], Some(Goal::Below(1000.0)));
    one.stop().await?;
    two.stop().await
}
