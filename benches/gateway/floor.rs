//! The floor: bare hyper and tokio-postgres on one fixed database. The same row read by its key, and the same
//! message written, with no authentication, no signature, no routing and no pool. Nothing that serves HTTP from
//! PostgreSQL in this language can be much faster.
//!
//! Allocator and runtime are those of the gateway's own `main.rs` and `cli`; change them together.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use narthex::clock::Clock;
use narthex::identifiers::new_id;
use narthex::messaging::inbound::STORE;
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use crate::Result;

/// The databases' URLs with a space in between. Not an argument, because they hold a password.
pub const URL_VARIABLE: &str = "NARTHEX_BENCH_FLOOR_URL";

#[derive(clap::Args)]
pub struct Options {
    /// The row that is read, in each of the databases.
    #[arg(long, value_delimiter = ',')]
    members: Vec<Uuid>,
    /// For each database; as many as a tenant's pool may have.
    #[arg(long, default_value_t = 10)]
    connections: usize,
    /// Lends each connection to one request at a time, as a pool does, instead of sending statements of several
    /// requests one behind the other.
    #[arg(long)]
    in_turn: bool,
}

/// The row of `GET /v1/members/{id}`.
const READ: &str = "SELECT id, first_name, last_name, phone_number, email, branch_id, tags, opted_out_at, \
                    created_at, updated_at FROM members WHERE id = $1";

const STORE_TYPES: [Type; 13] = [
    Type::TEXT,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::UUID,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::UUID,
    Type::TEXT,
    Type::JSONB,
    Type::INT4,
    Type::TEXT,
    Type::TEXT,
];

struct Database {
    client: Client,
    read: Statement,
    store: Statement,
}

/// Connections that no request has; the semaphore counts them.
struct Free {
    permits: Semaphore,
    indices: Mutex<Vec<usize>>,
}

struct Floor {
    databases: Vec<Database>,
    /// For each database.
    connections: usize,
    next: AtomicUsize,
    /// The row of each database, and which database has it.
    members: Vec<Uuid>,
    numbers: HashMap<Uuid, usize>,
    /// Where each serves one request at a time.
    free: Option<Free>,
    clock: Clock,
}

/// The gateway's document of a member.
#[derive(Serialize)]
struct Member<'a> {
    id: Uuid,
    first_name: &'a str,
    last_name: &'a str,
    phone_number: &'a str,
    email: Option<&'a str>,
    branch_id: Option<Uuid>,
    tags: Vec<&'a str>,
    opted_out_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// Serves until its standard input ends, which happens when whoever started it is gone.
pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    runtime.block_on(serve(options))
}

async fn serve(options: &Options) -> Result<()> {
    let urls = std::env::var(URL_VARIABLE)?;
    let mut databases = Vec::new();
    let urls = urls.split(' ').flat_map(|url| std::iter::repeat_n(url, options.connections));
    for url in urls {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        let read = client.prepare(READ).await?;
        let store = client.prepare_typed(STORE, &STORE_TYPES).await?;
        databases.push(Database { client, read, store });
    }
    let floor = Arc::new(Floor {
        databases,
        next: AtomicUsize::new(0),
        free: options.in_turn.then(|| Free {
            permits: Semaphore::new(options.connections),
            indices: Mutex::new((0..options.connections).collect()),
        }),
        connections: options.connections,
        members: options.members.clone(),
        numbers: options.members.iter().copied().zip(0..).collect(),
        clock: Clock::system(),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let floor = floor.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let floor = floor.clone();
                async move { Ok::<_, Infallible>(floor.answer(request).await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Floor {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answered = match *request.method() {
            Method::POST => self.store(request).await,
            _ if request.uri().path() == "/health" => Ok(br#"{"status":"ready"}"#.to_vec()),
            _ => self.read(request.uri().path()).await,
        };
        let (status, body) = match answered {
            Ok(body) => (StatusCode::OK, body),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    /// With one database nothing of the path is read.
    fn number(&self, path: &str) -> Result<usize> {
        if let [_] = self.members[..] {
            return Ok(0);
        }
        let member: Uuid = path.rsplit('/').next().unwrap_or_default().parse()?;
        Ok(*self.numbers.get(&member).ok_or("no such member")?)
    }

    async fn lend(&self, number: usize) -> Result<Lent<'_>> {
        let Some(free) = &self.free else {
            let permit = self.next.fetch_add(1, Ordering::Relaxed) % self.connections;
            let index = number * self.connections + permit;
            return Ok(Lent { floor: self, index, _permit: None });
        };
        let permit = free.permits.acquire().await?;
        let index = lock(&free.indices).pop().ok_or("a turn without a connection")?;
        Ok(Lent { floor: self, index, _permit: Some(permit) })
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>> {
        let number = self.number(path)?;
        let lent = self.lend(number).await?;
        let database = lent.database();
        let row = database.client.query_one(&database.read, &[&self.members[number]]).await?;
        let member = Member {
            id: row.get(0),
            first_name: row.get(1),
            last_name: row.get(2),
            phone_number: row.get(3),
            email: row.get(4),
            branch_id: row.get(5),
            tags: row.get(6),
            opted_out_at: row.get(7),
            created_at: row.get(8),
            updated_at: row.get(9),
        };
        Ok(serde_json::to_vec(&member)?)
    }

    async fn store(&self, request: Request<Incoming>) -> Result<Vec<u8>> {
        let body = request.into_body().collect().await?.to_bytes();
        let event: Value = serde_json::from_slice(&body)?;
        let data = &event["data"];
        let payload = &data["payload"];
        let text = |value: &'_ Value| value.as_str().map(str::to_owned).ok_or("no text");
        let occurred: DateTime<Utc> = text(&data["occurred_at"])?.parse()?;
        let said = text(&payload["text"])?;
        let preview: String = said.chars().take(140).collect();
        let segments = i32::try_from(payload["parts"].as_i64().unwrap_or(1))?;
        let subject = payload["subject"].as_str();
        let now = self.clock.now();
        let lent = self.lend(0).await?;
        let database = lent.database();
        let stored = database
            .client
            .execute(
                &database.store,
                &[
                    &text(&data["id"])?,
                    &occurred,
                    &now,
                    &new_id(),
                    &text(&payload["from"]["phone_number"])?,
                    &text(&payload["to"][0]["phone_number"])?,
                    &preview,
                    &new_id(),
                    &said,
                    &payload["media"],
                    &segments,
                    &text(&payload["id"])?,
                    &subject,
                ],
            )
            .await?;
        let status = if stored == 1 { "accepted" } else { "duplicate" };
        Ok(format!(r#"{{"status":"{status}"}}"#).into_bytes())
    }
}

/// A connection for one request.
struct Lent<'a> {
    floor: &'a Floor,
    index: usize,
    /// Given back after the index.
    _permit: Option<SemaphorePermit<'a>>,
}

impl Lent<'_> {
    fn database(&self) -> &Database {
        &self.floor.databases[self.index]
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(free) = &self.floor.free {
            lock(&free.indices).push(self.index);
        }
    }
}

fn lock(indices: &Mutex<Vec<usize>>) -> MutexGuard<'_, Vec<usize>> {
    indices.lock().unwrap_or_else(PoisonError::into_inner)
}
