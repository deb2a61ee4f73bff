//! The gateway's front: routes, the layers around them, and the way from a request to a tenant's connection.

mod answers;
mod audit;
mod code;
mod connection;
mod extract;
mod json;
mod leftover;
mod limits;
mod middleware;
mod openapi;
mod operations;
mod problem;
mod readiness;
mod request_id;
mod router;
mod routes;
mod server;
mod short_text;
mod timestamp;

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use moka::future::Cache;
use uuid::Uuid;

pub use code::Code;
pub use openapi::document as openapi_document;
pub use readiness::Readiness;
pub use server::{Listeners, serve};

use answers::Answers;
use extract::BodyMemory;
use limits::Limits;

use crate::authentication::Authentication;
use crate::clock::Clock;
use crate::configuration::{HttpSettings, LimitsSettings};
use crate::identifiers::TenantId;
use crate::limits::Turns;
use crate::provisioning::Provisioner;
use crate::registry::Registry;
use crate::tenant_data::rights::Rights;
use crate::tenant_router::TenantRouter;
use crate::webhooks::clerk::ClerkWebhooks;
use crate::webhooks::telnyx::TelnyxWebhooks;

/// How long it is remembered what somebody may do: a change of the role, or of whose role it is, takes effect within
/// seconds.
const RIGHTS_TTL: Duration = Duration::from_secs(5);

/// What the handlers work with. Cloned for each request, so that a clone must cost one counter and no more.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

impl std::ops::Deref for Gateway {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

/// The rooms, and what the gateway remembers by itself.
pub struct Inner {
    registry: Registry,
    authentication: Authentication,
    router: TenantRouter,
    provisioner: Provisioner,
    telnyx: TelnyxWebhooks,
    clerk: ClerkWebhooks,
    readiness: Readiness,
    answers: Answers,
    limits: Limits,
    rights: Cache<(TenantId, Uuid, String), Arc<Rights>, RandomState>,
    settings: HttpSettings,
    registration_wait: Duration,
    operator_mfa_required: bool,
    /// Memory for request bodies: what has no room is turned away.
    bodies: BodyMemory,
    /// For what would hold an async thread up: large bodies.
    turns: Turns,
    clock: Clock,
}

/// The rooms that the gateway opens onto.
pub struct Rooms {
    /// Signing in, tokens.
    pub authentication: Authentication,
    /// Tenants and their databases.
    pub router: TenantRouter,
    /// Registration.
    pub provisioner: Provisioner,
    /// Inbound messages.
    pub telnyx: TelnyxWebhooks,
    /// Deliveries of the identity provider.
    pub clerk: ClerkWebhooks,
    /// For operators and the readiness checks.
    pub registry: Registry,
}

impl Gateway {
    /// A gateway onto these rooms. `registration_wait`: how long a registration is waited for before 202.
    pub fn new(
        rooms: Rooms,
        settings: HttpSettings,
        limits: &LimitsSettings,
        registration_wait: Duration,
        life: &crate::lifecycle::Lifecycle,
        clock: Clock,
    ) -> Self {
        let operator_mfa_required = rooms.authentication.requires_operator_mfa();
        let inner = Inner {
            readiness: Readiness::start(rooms.registry.clone(), life),
            answers: Answers::default(),
            authentication: rooms.authentication,
            router: rooms.router,
            provisioner: rooms.provisioner,
            telnyx: rooms.telnyx,
            clerk: rooms.clerk,
            limits: Limits::new(limits, &clock),
            rights: Cache::builder()
                .max_capacity(50_000)
                .time_to_live(RIGHTS_TTL)
                .build_with_hasher(RandomState::default()),
            registry: rooms.registry,
            registration_wait,
            operator_mfa_required,
            bodies: BodyMemory::new(&settings),
            turns: Turns::default(),
            settings,
            clock,
        };
        Self { inner: Arc::new(inner) }
    }
}
