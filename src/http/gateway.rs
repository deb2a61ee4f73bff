//! The state of every handler: the modules, and the gateway's own caches and limits.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use moka::future::Cache;
use uuid::Uuid;

use super::body_memory::BodyMemory;
use super::limits::Limits;
use super::readiness::Readiness;
use super::response_metrics::ResponseMetrics;
use crate::access::Authenticator;
use crate::accounts::Accounts;
use crate::clock::Clock;
use crate::configuration::{HttpSettings, LimitsSettings};
use crate::fleet::Fleet;
use crate::identifiers::TenantId;
use crate::lifecycle::Lifecycle;
use crate::limits::ComputePermits;
use crate::operators::Operators;
use crate::provisioning::Provisioner;
use crate::registry::Registry;
use crate::tenant_data::rights::Rights;
use crate::tenant_router::TenantRouter;
use crate::tenants::{OwnTenant, Tenants};
use crate::webhooks::clerk::ClerkWebhooks;
use crate::webhooks::telnyx::TelnyxWebhooks;

/// How long a caller's rights are cached. A change of a role, or of the role that a caller has,
/// takes effect within seconds.
const RIGHTS_TTL: Duration = Duration::from_secs(5);

/// The state of every handler. It is cloned for each request, so a clone must cost one counter and
/// no more.
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

/// The modules, and the gateway's own caches and limits.
pub struct Inner {
    pub(super) registry: Registry,
    pub(super) access: Authenticator,
    pub(super) accounts: Accounts,
    pub(super) operators: Operators,
    pub(super) tenants: Tenants,
    pub(super) own_tenant: OwnTenant,
    pub(super) fleet: Fleet,
    pub(super) router: TenantRouter,
    pub(super) provisioner: Provisioner,
    pub(super) telnyx: TelnyxWebhooks,
    pub(super) clerk: ClerkWebhooks,
    pub(super) readiness: Readiness,
    pub(super) response_metrics: ResponseMetrics,
    pub(super) limits: Limits,
    pub(super) rights: Cache<(TenantId, Uuid, String), Arc<Rights>, RandomState>,
    pub(super) settings: HttpSettings,
    pub(super) registration_wait: Duration,
    pub(super) operator_mfa_required: bool,
    /// Memory for request bodies. A body that does not fit is refused.
    pub(super) bodies: BodyMemory,
    /// Permits for work that would block an async thread: large bodies.
    pub(super) permits: ComputePermits,
    pub(super) clock: Clock,
}

/// The modules that the gateway calls.
pub struct Modules {
    /// Authenticates callers and reads their rights.
    pub access: Authenticator,
    /// Accounts of staff, and their credentials.
    pub accounts: Accounts,
    /// Accounts of the installation's operators.
    pub operators: Operators,
    /// Changes of tenants by operators.
    pub tenants: Tenants,
    /// Changes that staff make to their own tenant.
    pub own_tenant: OwnTenant,
    /// The database servers, and reconciliation with the registry.
    pub fleet: Fleet,
    /// The tenants' pools and the directory.
    pub router: TenantRouter,
    /// Starts the runs of registrations, and waits for them.
    pub provisioner: Provisioner,
    /// Receives events about messages.
    pub telnyx: TelnyxWebhooks,
    /// Receives the deliveries of the identity provider.
    pub clerk: ClerkWebhooks,
    /// The registry, for the operators' routes and the readiness check.
    pub registry: Registry,
}

impl Gateway {
    /// A gateway to these modules. `registration_wait`: how long a request waits for its
    /// registration before it is answered with 202.
    pub fn new(
        modules: Modules,
        settings: HttpSettings,
        limits: &LimitsSettings,
        registration_wait: Duration,
        life: &Lifecycle,
        clock: Clock,
    ) -> Self {
        let operator_mfa_required = modules.operators.requires_mfa();
        let inner = Inner {
            readiness: Readiness::start(modules.registry.clone(), life),
            response_metrics: ResponseMetrics::default(),
            access: modules.access,
            accounts: modules.accounts,
            operators: modules.operators,
            tenants: modules.tenants,
            own_tenant: modules.own_tenant,
            fleet: modules.fleet,
            router: modules.router,
            provisioner: modules.provisioner,
            telnyx: modules.telnyx,
            clerk: modules.clerk,
            limits: Limits::new(limits, &clock),
            rights: Cache::builder()
                .max_capacity(50_000)
                .time_to_live(RIGHTS_TTL)
                .build_with_hasher(RandomState::default()),
            registry: modules.registry,
            registration_wait,
            operator_mfa_required,
            bodies: BodyMemory::new(&settings),
            permits: ComputePermits::default(),
            settings,
            clock,
        };
        Self { inner: Arc::new(inner) }
    }
}
