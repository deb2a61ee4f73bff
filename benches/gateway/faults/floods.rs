//! Clients that take without giving: silent bodies, passwords that cost much to judge, connections that only stay. What do
//! others notice of each?

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use narthex::clock::Clock;
use narthex::webhooks::telnyx::signature::{SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Result;
use crate::load::{Load, Pace, Tally, drawing};
use crate::processes::Gateway;
use crate::report::{Goal, Report};
use crate::requests::{self, Shot};
use crate::scale::Scale;
use crate::statistics::ratio_of_medians;
use crate::world::World;

/// Reads of the others, in a second, and their connections.
const READS: f64 = 300.0;
const READERS: usize = 16;
/// Bodies that do not come; each is begun anew when it is ended.
const BODIES: usize = 64;
/// Registrations without a pause, each with a password of the worst kind.
const PASSWORDS: usize = 8;
/// Connections that have sent one letter, that answer nothing but pings, and that read nothing. Together, and with the
/// readers, fewer than `http.max_connections_per_network`.
const LETTERS: usize = 600;
const PINGS: usize = 150;
const UNREAD: usize = 150;
/// Between two attempts of one client.
const PAUSE: Duration = Duration::from_millis(100);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0narthex!";

pub async fn run(world: &World, scale: &Scale, report: &mut Report) -> Result<()> {
    // The worst case: nobody is turned away for calling often.
    let gateway = Gateway::start(world, &[("NARTHEX_LIMITS__ENABLED", "false")]).await?;
    let street = Street { gateway: &gateway, world, scale };
    street.read(0).await?;
    street.beside("silent bodies", report, silent_bodies).await?;
    street.beside("costly passwords", report, costly_passwords).await?;
    street.beside("idle connections", report, idle_connections).await?;
    gateway.stop().await
}

struct Street<'a> {
    gateway: &'a Gateway,
    world: &'a World,
    scale: &'a Scale,
}

impl Street<'_> {
    /// Reads of the others.
    async fn read(&self, seed: u64) -> Result<Tally> {
        let shots: Arc<[Arc<Shot>]> =
            self.world.tenants.iter().take(self.scale.warm).map(|t| t.read.clone()).collect();
        let load = Load {
            address: self.gateway.address,
            pace: Pace::PerSecond(READS),
            warm_up: self.scale.warm_up,
            length: self.scale.length,
            traced: false,
        };
        let choose = move |random: &mut fastrand::Rng| shots[random.usize(..shots.len())].clone();
        load.run(drawing(READERS, seed, choose)).await
    }

    /// The same reads without and with a flood.
    async fn beside(
        &self,
        what: &str,
        report: &mut Report,
        flood: fn(SocketAddr, &mut JoinSet<()>),
    ) -> Result<()> {
        let (mut calm, mut flooded) = (vec![], vec![]);
        for round in 1..=self.scale.rounds as u64 {
            calm.push(self.read(round).await?.percentile(0.99));
            let mut clients = JoinSet::new();
            flood(self.gateway.address, &mut clients);
            let read = self.read(round).await?;
            clients.shutdown().await;
            report.require_all_good(&format!("reading beside {what}"), &read);
            flooded.push(read.percentile(0.99));
        }
        let ratio = ratio_of_medians(&flooded, &calm);
        report.row(&format!("A read before {what}: p99"), "ms", calm, None);
        report.row(&format!("A read beside {what}: p99"), "ms", flooded, None);
        report.ratio(
            &format!("The p99 beside {what} to that before"),
            ratio,
            Some(Goal::Below(2.0)),
        );
        Ok(())
    }
}

/// Sends these bytes on a new connection and reads to its end, again and again.
async fn repeat(address: SocketAddr, bytes: Vec<u8>) {
    loop {
        if let Ok(mut socket) = TcpStream::connect(address).await {
            let _ = socket.write_all(&bytes).await;
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn silent_bodies(address: SocketAddr, clients: &mut JoinSet<()>) {
    let now = Clock::system().now().timestamp();
    let Ok(key) = SigningKey::from_seed(&[7; 32]) else { return };
    let signature = key.sign(now, b"another body");
    let head = format!(
        "POST /webhooks/telnyx HTTP/1.1\r\nhost: bench\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\
         {SIGNATURE_HEADER}: {signature}\r\n{TIMESTAMP_HEADER}: {now}\r\n\r\n1\r\n{{\r\n"
    );
    for _ in 0..BODIES {
        clients.spawn(repeat(address, head.clone().into_bytes()));
    }
}

fn costly_passwords(address: SocketAddr, clients: &mut JoinSet<()>) {
    let password = "p4$$w0rd(h@ng3m3".repeat(8)[..100].to_owned();
    let body = json!({
        "organization_name": "Flood", "email": "flood@example.org", "first_name": "A", "last_name": "B",
        "password": password,
    });
    let request = requests::with_body("POST", "/v1/auth/register", None, &body.to_string());
    for _ in 0..PASSWORDS {
        let request = request.clone();
        clients.spawn(async move {
            let Ok(mut socket) = TcpStream::connect(address).await else { return };
            let mut answer = vec![0; 16 * 1024];
            while socket.write_all(&request).await.is_ok() {
                if !matches!(socket.read(&mut answer).await, Ok(1..)) {
                    return;
                }
            }
        });
    }
}

fn idle_connections(address: SocketAddr, clients: &mut JoinSet<()>) {
    for _ in 0..LETTERS {
        clients.spawn(repeat(address, b"P".to_vec()));
    }
    for _ in 0..PINGS {
        clients.spawn(async move {
            let Ok(mut socket) = TcpStream::connect(address).await else { return };
            let _ = socket.write_all(PREFACE).await;
            while socket.write_all(PING).await.is_ok() {
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    for _ in 0..UNREAD {
        clients.spawn(async move {
            let request = requests::get("/openapi.json", None);
            let Ok(mut socket) = TcpStream::connect(address).await else { return };
            for _ in 0..20 {
                let _ = socket.write_all(&request).await;
            }
            std::future::pending::<()>().await;
        });
    }
}
