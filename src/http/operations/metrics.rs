//! The numbers of this replica. The rooms count for themselves; they are asked when somebody scrapes, and nothing is
//! counted twice.

use std::fmt;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::families::Families;
use super::process;
use crate::http::problem::Problem;
use crate::http::readiness::ReadinessState;
use crate::http::{Code, Gateway};
use crate::tenant_router::PoolEvent;

/// OpenMetrics 1.0, which Prometheus reads too.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics, as text. Every family of [`Rooms`] stands in the table of docs/operations.md.
pub(crate) async fn show_metrics(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    // Made for each scrape, because it holds no number of its own.
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Rooms(gateway)));
    let mut document = String::new();
    text::encode(&mut document, &registry).map_err(|error| {
        tracing::error!(%error, "the metrics could not be written down");
        Code::Internal
    })?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], document).into_response())
}

/// The rooms behind the gateway, asked for their numbers.
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
        self.tenant_router(&mut families)
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
        let classes = self.0.answers.classes();
        families.counters(
            "narthex_http_requests",
            "Requests that were answered.",
            classes.map(|(listener, class, n)| ([("listener", listener), ("class", class)], n)),
        )?;
        families.counters(
            "narthex_http_problems",
            "Answers that were problem documents.",
            self.0.answers.problems().map(|(code, n)| ([("code", code)], n)),
        )
    }

    fn tenant_router(&self, families: &mut Families<'_>) -> Result<(), fmt::Error> {
        let seen = self.0.router.statistics();
        families.gauge("narthex_pools_open", "Tenants with an open pool.", seen.open)?;
        families.gauge(
            "narthex_leases",
            "Requests that have a connection to a tenant or wait for one.",
            seen.leases,
        )?;
        families.counters(
            "narthex_pool_events",
            "What happened to pools, and why.",
            PoolEvent::ALL.iter().map(|event| ([("event", event.name())], seen.count(*event))),
        )
    }
}
