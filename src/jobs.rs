//! Everything that runs by itself, in one list. A job only wakes: what is due, the rooms below know.

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

/// What the jobs wake.
pub struct Jobs {
    /// Parked events of messages.
    pub telnyx: TelnyxWebhooks,
    /// Deliveries of the identity provider.
    pub clerk: ClerkWebhooks,
    /// Runs.
    pub provisioner: Provisioner,
    /// Tenants whose time is over.
    pub purges: Purges,
    /// Warm databases, and the comparison of the servers with the registry.
    pub fleet: Fleet,
    /// Addresses whose change was cut off.
    pub email_index: EmailIndexSync,
}

/// Starts the jobs of this replica; they go on through the drain and end at the stop of `life`. Beside these run the
/// pool reaper (`tenant_router`), the reading of revocations and signing keys (`access`) and the check of the registry
/// (`http::readiness`), which belong to the state they keep.
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
        purges.end_unproven().await?;
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

/// Why a job did not do what it should. That the registry is away is said here too: what fails with a time limit looks the same,
/// and nothing else may tell of it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A job that fails says so aloud once in this time.
const BETWEEN_COMPLAINTS: Duration = Duration::from_secs(60);

/// When a job has complained last.
#[derive(Default)]
struct Complaints(Option<Instant>);

impl Complaints {
    /// May it complain now? Then it has.
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

/// Runs `job` on `subject` again and again, `period` after its last end.
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
            // A job can be dropped at any point: what it had taken up, its lease gives free again.
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
