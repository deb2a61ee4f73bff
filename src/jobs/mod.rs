//! Everything that runs by itself, in one list. A job only wakes: what is due, the rooms below know.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::authentication::Authentication;
use crate::lifecycle::Lifecycle;
use crate::provisioning::Provisioner;
use crate::webhooks::clerk::ClerkWebhooks;
use crate::webhooks::telnyx::TelnyxWebhooks;

mod addresses;
mod deliver_parked;
mod deliveries;
mod provision;

/// Starts the jobs of this replica; they go on through the drain and end at the stop of `life`. Beside these run the
/// pool reaper (`tenant_router`), the reading of revocations (`authentication`) and the check of the registry
/// (`http::readiness`), which belong to the state they keep.
pub fn start(
    life: &Lifecycle,
    telnyx: TelnyxWebhooks,
    clerk: &ClerkWebhooks,
    provisioner: &Provisioner,
    authentication: Authentication,
) {
    every(life, "addresses", Duration::from_secs(60), move || {
        addresses::settle(authentication.clone())
    });
    every(life, "parked events", Duration::from_secs(1), move || {
        deliver_parked::run(telnyx.clone())
    });
    let job = clerk.clone();
    every(life, "deliveries", Duration::from_millis(500), move || deliveries::work(job.clone()));
    let job = clerk.clone();
    every(life, "old deliveries", Duration::from_secs(10 * 60), move || {
        deliveries::clean_up(job.clone())
    });
    let job = provisioner.clone();
    every(life, "runs", Duration::from_millis(500), move || provision::work_due(job.clone()));
    let job = provisioner.clone();
    every(life, "spares", Duration::from_secs(2), move || provision::top_up_spares(job.clone()));
    let job = provisioner.clone();
    every(life, "purges", Duration::from_secs(60), move || provision::purge_due(job.clone()));
    let job = provisioner.clone();
    every(life, "unproven tenants", Duration::from_secs(10 * 60), move || {
        provision::end_unproven(job.clone())
    });
    let job = provisioner.clone();
    every(life, "numbers of provisioning", Duration::from_secs(5), move || {
        provision::take_stock(job.clone())
    });
    let job = provisioner.clone();
    every(life, "reconciler", Duration::from_secs(300), move || provision::reconcile(job.clone()));
    let job = provisioner.clone();
    every(life, "idempotency keys", Duration::from_secs(3600), move || {
        provision::clean_up(job.clone())
    });
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

    fn tell(&mut self, job: &'static str, error: &Failure) {
        match self.is_due() {
            true => tracing::warn!(job, %error, "a job does not do what it should"),
            false => tracing::debug!(job, %error, "a job does not do what it should"),
        }
    }
}

/// Runs `job` again and again, `period` after its last end.
fn every<F>(
    life: &Lifecycle,
    name: &'static str,
    period: Duration,
    job: impl Fn() -> F + Send + Sync + 'static,
) where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let stopping = life.clone();
    life.spawn(name, async move {
        let mut complaints = Complaints::default();
        loop {
            // A job can be dropped at any point: what it had taken up, its lease gives free again.
            let turn = async {
                tokio::time::sleep(period).await;
                job().await
            };
            tokio::select! {
                () = stopping.stopping() => break,
                done = turn => if let Err(failure) = done {
                    complaints.tell(name, &failure);
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
