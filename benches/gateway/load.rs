//! Load: a number of connections that send one request after the other, as fast as answers come or at a set pace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::Result;
use crate::client::{Answer, Connection, find};
use crate::requests::Shot;

/// A client that has waited this long gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// After a connection that could not be opened.
const REST: Duration = Duration::from_millis(5);
const LONGEST_MICROSECONDS: u64 = 60_000_000;

/// Gives one connection its next request; `None` ends it.
pub type Source = Box<dyn FnMut() -> Option<Arc<Shot>> + Send>;

/// How soon the next request follows.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When the answer is there.
    ClosedLoop,
    /// So many in a second over all connections, whether or not the answers keep up. Where a connection is late,
    /// the time of its next request counts from the moment when that was due.
    PerSecond(f64),
}

/// A load on one address.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub address: SocketAddr,
    pub pace: Pace,
    /// Not counted.
    pub warm_up: Duration,
    /// Longest time; a source may end sooner.
    pub length: Duration,
    /// Keep the moment and outcome of each request.
    pub traced: bool,
}

/// One request of a traced load.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub at: Instant,
    pub tenant: usize,
    pub good: bool,
}

/// What came of a load.
pub struct Tally {
    /// Of good answers, in microseconds.
    pub latencies: Histogram<u64>,
    /// How often each outcome was seen that is no good answer.
    pub failures: BTreeMap<String, u64>,
    /// Answers with another tenant's row.
    pub strangers: Vec<String>,
    pub events: Vec<Event>,
    pub elapsed: Duration,
}

impl Tally {
    pub fn new() -> Result<Self> {
        Ok(Self {
            latencies: Histogram::new_with_bounds(1, LONGEST_MICROSECONDS, 3)?,
            failures: BTreeMap::new(),
            strangers: Vec::new(),
            events: Vec::new(),
            elapsed: Duration::ZERO,
        })
    }

    /// Good answers in a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// In milliseconds; `share` 0.99 is the 99th percentile.
    pub fn percentile(&self, share: f64) -> f64 {
        self.latencies.value_at_quantile(share) as f64 / 1000.0
    }

    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub fn add(&mut self, other: Self) -> Result<()> {
        self.latencies.add(&other.latencies)?;
        for (what, count) in other.failures {
            *self.failures.entry(what).or_default() += count;
        }
        self.strangers.extend(other.strangers);
        self.events.extend(other.events);
        self.elapsed = self.elapsed.max(other.elapsed);
        Ok(())
    }

    fn note(&mut self, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Good => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST_MICROSECONDS);
                self.latencies.saturating_record(micros.max(1));
            }
            Outcome::Stranger(body) => self.strangers.push(body),
            Outcome::Failed(what) => *self.failures.entry(what).or_default() += 1,
        }
    }
}

enum Outcome {
    Good,
    Stranger(String),
    Failed(String),
}

impl Load {
    /// Runs to its end, one connection for each source.
    pub async fn run(self, sources: Vec<Source>) -> Result<Tally> {
        let (start, of) = (Instant::now(), sources.len());
        let mut workers = JoinSet::new();
        for (index, source) in sources.into_iter().enumerate() {
            workers.spawn(self.work(source, start, index, of));
        }
        let mut whole = Tally::new()?;
        while let Some(done) = workers.join_next().await {
            whole.add(done??)?;
        }
        whole.elapsed = start.elapsed().saturating_sub(self.warm_up);
        Ok(whole)
    }

    async fn work(
        self,
        mut source: Source,
        start: Instant,
        index: usize,
        of: usize,
    ) -> Result<Tally> {
        let mut tally = Tally::new()?;
        let measured = start + self.warm_up;
        let end = measured + self.length;
        let mut connection = None;
        let mut permit = index;
        loop {
            let begin = match self.pace {
                Pace::ClosedLoop => Instant::now(),
                Pace::PerSecond(rate) => {
                    let due = start + Duration::from_secs_f64(permit as f64 / rate);
                    permit += of;
                    if due < end && Instant::now() < due {
                        tokio::time::sleep_until(due.into()).await;
                        // The timer is no finer than a millisecond, which is not the gateway's fault.
                        Instant::now()
                    } else {
                        due
                    }
                }
            };
            if begin >= end {
                break;
            }
            let Some(shot) = source() else { break };
            let outcome = self.shoot(&mut connection, &shot).await;
            let at = Instant::now();
            if self.traced {
                tally.events.push(Event {
                    at,
                    tenant: shot.tenant,
                    good: matches!(outcome, Outcome::Good),
                });
            }
            // A wrong row counts at any time.
            if begin >= measured || matches!(outcome, Outcome::Stranger(_)) {
                tally.note(outcome, at - begin);
            }
        }
        Ok(tally)
    }

    /// Opens the connection where there is none, and lets go of it where it is of no more use.
    async fn shoot(&self, connection: &mut Option<Connection>, shot: &Shot) -> Outcome {
        let mut open = match connection.take() {
            Some(open) => open,
            None => match Connection::open(self.address).await {
                Ok(open) => open,
                Err(error) => {
                    tokio::time::sleep(REST).await;
                    return Outcome::Failed(format!("no connection: {}", error.kind()));
                }
            },
        };
        let outcome = match tokio::time::timeout(PATIENCE, open.call(&shot.bytes)).await {
            Err(_) => return Outcome::Failed("no answer in time".to_owned()),
            Ok(Err(error)) => {
                return Outcome::Failed(format!("broken connection: {}", error.kind()));
            }
            Ok(Ok(answer)) => judge(&answer, shot),
        };
        *connection = Some(open);
        outcome
    }
}

fn judge(answer: &Answer<'_>, shot: &Shot) -> Outcome {
    match answer.status {
        200 | 201 if find(answer.body, &shot.must_hold).is_some() => Outcome::Good,
        200 if shot.tagged => Outcome::Stranger(String::from_utf8_lossy(answer.body).into_owned()),
        200 => Outcome::Failed("200 with another answer".to_owned()),
        status => Outcome::Failed(format!("{status} {}", answer.code())),
    }
}

/// Each of `connections` draws from the same choice, with randomness of its own that is the same in every run.
pub fn drawing<F>(connections: usize, seed: u64, choose: F) -> Vec<Source>
where
    F: Fn(&mut fastrand::Rng) -> Arc<Shot> + Send + Sync + Clone + 'static,
{
    (0..connections)
        .map(|index| {
            let (choose, mut random) =
                (choose.clone(), fastrand::Rng::with_seed(seed * 1000 + index as u64));
            Box::new(move || Some(choose(&mut random))) as Source
        })
        .collect()
}

/// `connections` take from one stock until it is used up.
pub fn stock(connections: usize, shots: Vec<Arc<Shot>>) -> Vec<Source> {
    let (shots, next) = (Arc::new(shots), Arc::new(AtomicUsize::new(0)));
    (0..connections)
        .map(|_| {
            let (shots, next) = (shots.clone(), next.clone());
            Box::new(move || shots.get(next.fetch_add(1, Ordering::Relaxed)).cloned()) as Source
        })
        .collect()
}
