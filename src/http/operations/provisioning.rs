//! The state of the runs that create and remove tenants.

use std::fmt::Error;
use std::time::Duration;

use sea_orm::ActiveEnum;

use super::families::Families;
use crate::fleet::FleetStatistics;
use crate::provisioning::ProvisioningStatistics;

pub(super) fn encode(
    families: &mut Families<'_>,
    seen: &ProvisioningStatistics,
    fleet: &FleetStatistics,
) -> Result<(), Error> {
    let count = |n: i64| usize::try_from(n).unwrap_or(0);
    let open = [
        ("pending", seen.open.pending),
        ("running", seen.open.running),
        ("compensating", seen.open.compensating),
    ];
    families.gauges(
        "narthex_runs_open",
        "Runs that make, mend or remove a tenant, and are not at their end.",
        open.into_iter().map(|(state, n)| ([("state", state)], count(n))),
    )?;
    families.seconds(
        "narthex_runs_open_oldest",
        "How long ago the oldest of them was planned.",
        Duration::try_from_secs_f64(seen.open.oldest_seconds).unwrap_or_default(),
    )?;
    families.counters(
        "narthex_runs_ended",
        "Runs that this replica has brought to their end.",
        seen.ended.iter().map(|(kind, outcome, n)| {
            ([("kind", kind.to_value()), ("outcome", outcome.name().to_owned())], *n)
        }),
    )?;
    families.gauges(
        "narthex_spares_ready",
        "Databases that wait for a tenant.",
        fleet.spares.iter().map(|(server, ready)| {
            ([("server", server.to_string())], usize::try_from(*ready).unwrap_or(usize::MAX))
        }),
    )?;
    families.gauges(
        "narthex_reconciler_findings",
        "What is on a database server and should not be, or the other way round.",
        fleet.findings.iter().map(|(kind, server, n)| {
            ([("kind", kind.name().to_owned()), ("server", server.to_string())], *n)
        }),
    )
}
