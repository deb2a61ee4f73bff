//! Runs whose process has died, or whose next attempt has come; tenants whose time for being restored is over, or whose address nobody proves; spare
//! databases; keys of registrations that nobody will repeat any more; what is on the servers and should not be, or the
//! other way round.

use crate::provisioning::Provisioner;

pub(super) async fn work_due(provisioner: Provisioner) {
    if let Err(error) = provisioner.work_due().await {
        // Readiness says aloud that the registry is away.
        tracing::debug!(%error, "runs could not be taken up");
    }
}

pub(super) async fn purge_due(provisioner: Provisioner) {
    if let Err(error) = provisioner.purge_due().await {
        tracing::debug!(%error, "deleted tenants could not be looked for");
    }
}

pub(super) async fn end_unproven(provisioner: Provisioner) {
    if let Err(error) = provisioner.end_unproven().await {
        tracing::debug!(%error, "tenants of unproven addresses could not be looked for");
    }
}

pub(super) async fn top_up_spares(provisioner: Provisioner) {
    if let Err(error) = provisioner.top_up_spares().await {
        tracing::warn!(%error, "spare databases could not be made");
    }
}

pub(super) async fn clean_up(provisioner: Provisioner) {
    if let Err(error) = provisioner.clean_up().await {
        tracing::debug!(%error, "old registrations could not be forgotten");
    }
}

pub(super) async fn take_stock(provisioner: Provisioner) {
    if let Err(error) = provisioner.take_stock().await {
        tracing::debug!(%error, "the numbers of provisioning could not be read");
    }
}

pub(super) async fn reconcile(provisioner: Provisioner) {
    if let Err(error) = provisioner.reconcile_in_turn().await {
        tracing::warn!(%error, "the database servers could not be compared with the registry");
    }
}
