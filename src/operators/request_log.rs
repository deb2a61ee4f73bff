//! Every request of an operator leaves an entry, whatever comes of it.

use serde_json::json;

use crate::access::Client;
use crate::audit::{Actor, ActorKind, AuditEvent, Origin};
use crate::clock::Clock;
use crate::registry::people::audit_log;
use crate::registry::people::operators::Operator;
use crate::registry::{Registry, RegistryError};

/// Of the path of a request, so many characters are written down.
const LONGEST_PATH: usize = 200;

/// An operator as the doer of something.
pub fn origin_of(operator: &Operator, client: &Client) -> Origin {
    let (kind, name) = (ActorKind::Operator, operator.name.clone());
    Origin::of(Actor { kind, id: Some(operator.id), name }, Some(client))
}

/// Writes down the requests of operators.
#[derive(Clone)]
pub struct RequestLog {
    pub(super) registry: Registry,
    pub(super) clock: Clock,
}

impl RequestLog {
    /// Writes down that an operator has called. `route`: method and path as in the table of routes.
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
