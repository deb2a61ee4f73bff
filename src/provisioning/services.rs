//! The services that runs use.

use super::failpoints::Failpoints;
use super::hooks::Hooks;
use super::statistics::Statistics;
use crate::clock::Clock;
use crate::configuration::ProvisioningSettings;
use crate::fleet::Fleet;
use crate::lifecycle::Lifecycle;
use crate::registry::Registry;
use crate::tenant_router::TenantRouter;

/// The parts of the gateway that runs use, and the failpoints of tests.
#[derive(Clone)]
pub(super) struct Services {
    pub registry: Registry,
    pub router: TenantRouter,
    pub fleet: Fleet,
    pub hooks: Hooks,
    pub statistics: Statistics,
    pub settings: ProvisioningSettings,
    pub life: Lifecycle,
    pub clock: Clock,
    pub failpoints: Option<Failpoints>,
}
