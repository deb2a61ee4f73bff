//! Runs whose process has died, or whose next attempt has come; tenants whose time for being restored is over, or whose address nobody proves; spare
//! databases; keys of registrations that nobody will repeat any more; what is on the servers and should not be, or the
//! other way round.

use super::Failure;
use crate::provisioning::Provisioner;

pub(super) async fn work_due(provisioner: Provisioner) -> Result<(), Failure> {
    provisioner.work_due().await?;
    Ok(())
}

pub(super) async fn purge_due(provisioner: Provisioner) -> Result<(), Failure> {
    provisioner.purge_due().await?;
    Ok(())
}

pub(super) async fn end_unproven(provisioner: Provisioner) -> Result<(), Failure> {
    provisioner.end_unproven().await?;
    Ok(())
}

pub(super) async fn top_up_spares(provisioner: Provisioner) -> Result<(), Failure> {
    provisioner.top_up_spares().await?;
    Ok(())
}

pub(super) async fn clean_up(provisioner: Provisioner) -> Result<(), Failure> {
    provisioner.clean_up().await?;
    Ok(())
}

pub(super) async fn take_stock(provisioner: Provisioner) -> Result<(), Failure> {
    provisioner.take_stock().await?;
    Ok(())
}

pub(super) async fn reconcile(provisioner: Provisioner) -> Result<(), Failure> {
    provisioner.reconcile_in_turn().await?;
    Ok(())
}
