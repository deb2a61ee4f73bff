//! All periodic jobs, in one list. A job only calls its module; the module decides what is due.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::accounts::EmailIndexSync;
use crate::fleet::Fleet;
use crate::lifecycle::Lifecycle;
use crate::provisioning::Provisioner;
use crate::tenants::Purges;
use crate::webhooks::clerk::ClerkWebhooks;
use crate::webhooks::telnyx::TelnyxWebhooks;

/// The modules that the jobs call.
pub struct Jobs {
    /// Delivers parked events of messages.
    pub telnyx: TelnyxWebhooks,
    /// Works on deliveries of the identity provider.
    pub clerk: ClerkWebhooks,
    /// Works on runs.
    pub provisioner: Provisioner,
    /// Deletes and purges tenants whose time is over.
    pub purges: Purges,
    /// Makes warm databases, and compares the servers with the registry.
    pub fleet: Fleet,
    /// Finalizes addresses whose change was interrupted.
    pub email_index: EmailIndexSync,
}

/// Starts the jobs of this replica. They continue during the drain and end at the stop of `life`.
/// Further background tasks belong to the modules whose state they maintain: the pool reaper
/// (`tenant_router`), the refresh of revocations and signing keys (`access`) and the check of the
/// registry (`http::readiness`).
pub fn start(life: &Lifecycle, jobs: Jobs) {
    let Jobs { telnyx, clerk, provisioner, purges, fleet, email_index } = jobs;
    every(life, "addresses", seconds(60), email_index, |index| async move {
        let settled = index.settle_all().await?;
        if settled > 0 {
            tracing::info!(settled, "addresses whose change was cut off are settled");
        }
        Ok(())
    });
    every(life, "parked events", seconds(1), telnyx, |telnyx| async move {
        telnyx.deliver_parked().await?;
        Ok(())
    });
    every(life, "deliveries", HALF_A_SECOND, clerk.clone(), |clerk| async move {
        clerk.work_on_due().await?;
        Ok(())
    });
    every(life, "old deliveries", seconds(10 * 60), clerk, |clerk| async move {
        let forgotten = clerk.clean_up().await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "old deliveries are forgotten");
        }
        Ok(())
    });
    every(life, "runs", HALF_A_SECOND, provisioner.clone(), |provisioner| async move {
        provisioner.work_due().await?;
        Ok(())
    });
    every(life, "spares", seconds(2), fleet.clone(), |fleet| async move {
        fleet.top_up_warm_databases().await?;
        Ok(())
    });
    every(life, "purges", seconds(60), purges.clone(), |purges| async move {
        purges.purge_due().await?;
        Ok(())
    });
    every(life, "unproven tenants", seconds(10 * 60), purges, |purges| async move {
        purges.delete_unproven().await?;
        Ok(())
    });
    every(
        life,
        "numbers of provisioning",
        seconds(5),
        provisioner.clone(),
        |provisioner| async move {
            provisioner.refresh_statistics().await?;
            Ok(())
        },
    );
    every(life, "numbers of the fleet", seconds(5), fleet.clone(), |fleet| async move {
        fleet.refresh_statistics().await?;
        Ok(())
    });
    every(life, "reconciler", seconds(300), fleet, |fleet| async move {
        fleet.reconciler().reconcile_exclusively().await?;
        Ok(())
    });
    every(life, "idempotency keys", seconds(3600), provisioner, |provisioner| async move {
        provisioner.clean_up().await?;
        Ok(())
    });
}

const HALF_A_SECOND: Duration = Duration::from_millis(500);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Failure of a job. An unavailable registry is reported too: a timeout of another cause looks the
/// same, and may be reported nowhere else.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A failing job logs a warning at most once in this time.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(60);

/// Time of the job's last warning.
#[derive(Default)]
struct Complaints(Option<Instant>);

impl Complaints {
    /// True if a warning may be logged now; then it also records the time.
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= BETWEEN_COMPLAINTS);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }

    fn report(&mut self, job: &'static str, error: &Failure) {
        match self.is_due() {
            true => tracing::warn!(job, %error, "a job does not do what it should"),
            false => tracing::debug!(job, %error, "a job does not do what it should"),
        }
    }
}

/// Runs `job` on `subject` repeatedly, with a pause of `period` after each end.
fn every<S, F>(
    life: &Lifecycle,
    name: &'static str,
    period: Duration,
    subject: S,
    job: impl Fn(S) -> F + Send + Sync + 'static,
) where
    S: Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let stopping = life.clone();
    life.spawn(name, async move {
        let mut complaints = Complaints::default();
        loop {
            // A job can be dropped at any point: the leases of its work expire, and another process
            // takes the work up.
            let permit = async {
                tokio::time::sleep(period).await;
                job(subject.clone()).await
            };
            tokio::select! {
                () = stopping.stopping() => break,
                done = permit => if let Err(failure) = done {
                    complaints.report(name, &failure);
                },
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_that_fails_all_the_time_complains_once_a_minute() {
        let mut complaints = Complaints::default();
        let mut spoken = 0;
        for _ in 0..600 {
            spoken += usize::from(complaints.is_due());
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        assert_eq!(spoken, 5);
    }
}
