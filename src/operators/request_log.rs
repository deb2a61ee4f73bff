//! Audit log entries for every request of an operator, whatever its outcome.

use serde_json::json;

use crate::access::Client;
use crate::audit::{Actor, ActorKind, AuditEvent, Origin};
use crate::clock::Clock;
use crate::registry::people::audit_log;
use crate::registry::people::operators::Operator;
use crate::registry::{Registry, RegistryError};

/// Number of characters of a request's path that are recorded.
const LONGEST_PATH: usize = 200;

/// The audit log origin of an operator's request.
pub fn origin_of(operator: &Operator, client: &Client) -> Origin {
    let (kind, name) = (ActorKind::Operator, operator.name.clone());
    Origin::of(Actor { kind, id: Some(operator.id), name }, Some(client))
}

/// Records the requests of operators.
#[derive(Clone)]
pub struct RequestLog {
    pub(super) registry: Registry,
    pub(super) clock: Clock,
}

impl RequestLog {
    /// Records that an operator has called. `route`: method and path as in the route table.
    pub async fn record(
        &self,
        origin: &Origin,
        route: &str,
        path: &str,
    ) -> Result<(), RegistryError> {
        let path: String = path.chars().take(LONGEST_PATH).collect();
        let event = AuditEvent::on("request", "route", route).with(json!({"path": path}));
        audit_log::record_alone(&self.registry, origin, event, self.clock.now()).await
    }
}
