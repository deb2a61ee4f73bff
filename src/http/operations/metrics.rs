//! The metrics of this replica. The modules count for themselves, and each scrape reads their
//! numbers. Nothing is counted twice.

use std::fmt;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::families::Families;
use super::{process, provisioning};
use crate::http::problem::Problem;
use crate::http::readiness::ReadinessState;
use crate::http::{Code, Gateway};
use crate::tenant_router::{
    BreakerState, DirectoryStatistics, PoolEvent, Refusal, ServerStatistics,
};

/// OpenMetrics 1.0, which Prometheus reads too.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics, as text. Every family of [`Rooms`] has a row in the table of docs/operations.md.
pub(crate) async fn show_metrics(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    // A new registry for each scrape: it holds no number of its own.
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Rooms(gateway)));
    let mut document = String::new();
    text::encode(&mut document, &registry).map_err(|error| {
        tracing::error!(%error, "the metrics could not be written down");
        Code::Internal
    })?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], document).into_response())
}

/// The modules behind the gateway. Each scrape reads their numbers.
struct Rooms(Gateway);

impl fmt::Debug for Rooms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rooms").finish_non_exhaustive()
    }
}

impl Collector for Rooms {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut families = Families(encoder);
        self.process(&mut families)?;
        self.requests(&mut families)?;
        self.tenant_router(&mut families)?;
        provisioning::encode(
            &mut families,
            &self.0.provisioner.statistics(),
            &self.0.fleet.statistics(),
        )
    }
}

impl Rooms {
    fn process(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let version = env!("CARGO_PKG_VERSION");
        families.info("narthex_build", "The program that runs.", ("version", version))?;
        families.state(
            "narthex_readiness",
            "Whether this replica should get requests.",
            &ReadinessState::ALL,
            &self.0.readiness.state(),
            |state| state.name(),
        )?;
        match process::resident_bytes() {
            Some(bytes) => {
                families.bytes("narthex_process_resident", "Memory in use by the process.", bytes)
            }
            None => Ok(()),
        }
    }

    fn requests(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let classes = self.0.response_metrics.classes();
        families.counters(
            "narthex_http_requests",
            "Requests that were answered.",
            classes.map(|(listener, class, n)| ([("listener", listener), ("class", class)], n)),
        )?;
        families.counters(
            "narthex_http_problems",
            "Answers that were problem documents.",
            self.0.response_metrics.problems().map(|(code, n)| ([("code", code)], n)),
        )?;
        families.counter(
            "narthex_password_hashes",
            "Passwords that were hashed or compared.",
            self.0.accounts.hasher().hashes(),
        )
    }

    fn tenant_router(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let seen = self.0.router.statistics();
        families.gauge("narthex_pools_open", "Tenants with an open pool.", seen.open)?;
        families.gauge(
            "narthex_pools_retiring",
            "Pools that have left the map and still have a lease.",
            seen.retiring,
        )?;
        families.seconds(
            "narthex_pools_retiring_oldest",
            "How long the oldest of them has been retiring.",
            seen.oldest_retiring,
        )?;
        families.gauge(
            "narthex_connections",
            "Connections of the open pools.",
            seen.connections as usize,
        )?;
        families.gauge(
            "narthex_leases",
            "Requests that have a connection to a tenant or wait for one.",
            seen.leases,
        )?;
        families.gauge("narthex_waiting", "Requests among them that wait.", seen.waiting)?;
        families.counters(
            "narthex_pool_events",
            "What happened to pools, and why.",
            PoolEvent::ALL.iter().map(|event| ([("event", event.name())], seen.count(*event))),
        )?;
        families.counters(
            "narthex_refusals",
            "Requests that got no connection, and why.",
            Refusal::ALL.iter().map(|reason| ([("reason", reason.name())], seen.refused(*reason))),
        )?;
        families.counter(
            "narthex_retries",
            "Requests that were tried again with a newer address or password.",
            seen.retries,
        )?;
        let (open, half_open) = seen.failing_tenants;
        families.gauges(
            "narthex_breakers_of_tenants",
            "Tenants whose database is left alone, or about to be tried again.",
            [([("state", "open")], open), ([("state", "half_open")], half_open)].into_iter(),
        )?;
        self.directory(families, &seen.directory)?;
        servers(families, &seen.servers)
    }

    fn directory(
        &self,
        families: &mut Families<'_>,
        seen: &DirectoryStatistics,
    ) -> Result<(), fmt::Error> {
        let look_ups = [
            ("hit", seen.hits),
            ("miss", seen.misses),
            ("negative", seen.negatives),
            ("in_grace", seen.in_grace),
        ];
        families.counters(
            "narthex_directory_lookups",
            "Look-ups of tenants, hosts and servers, by what answered them.",
            look_ups.into_iter().map(|(answer, count)| ([("answer", answer)], count)),
        )?;
        families.gauge(
            "narthex_directory_known",
            "Tenants, hosts and servers in memory.",
            usize::try_from(seen.known).unwrap_or(usize::MAX),
        )?;
        families.counter(
            "narthex_directory_changes",
            "Changes of the registry that were heard of.",
            seen.changes,
        )?;
        families.gauge(
            "narthex_directory_fresh",
            "1 while changes of the registry are heard of.",
            usize::from(seen.is_fresh),
        )
    }
}

/// Server ids may be labels: servers are few, and clients cannot create them.
fn servers(families: &mut Families<'_>, servers: &[ServerStatistics]) -> Result<(), fmt::Error> {
    let each = |value: fn(&ServerStatistics) -> usize| {
        servers.iter().map(move |server| ([("server", server.id.to_string())], value(server)))
    };
    families.gauges(
        "narthex_server_connections_limit",
        "Connections that this replica may open to a database server for tenants.",
        each(|server| server.budget.limit as usize),
    )?;
    families.gauges(
        "narthex_server_connections_used",
        "Of these, taken; those that are being closed included.",
        each(|server| server.budget.used as usize),
    )?;
    families.gauges(
        "narthex_server_connections_waiting",
        "Openings that wait for one of them.",
        each(|server| server.budget.waiting),
    )?;
    families.gauges(
        "narthex_server_breaker",
        "0: closed; 1: open, the server is left alone; 2: half-open, it is being tried.",
        each(|server| match server.trouble.as_ref().map(|trouble| trouble.state) {
            None | Some(BreakerState::Closed) => 0,
            Some(BreakerState::Open) => 1,
            Some(BreakerState::HalfOpen) => 2,
        }),
    )
}
