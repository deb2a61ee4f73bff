//! Rate limits: the buckets that a request is charged to, and the headers that report them
//! (draft-ietf-httpapi-ratelimit-headers).

use std::cell::Cell;
use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use uuid::Uuid;

use super::code::Code;
use super::problem::Problem;
use super::short_text::ShortText;
use crate::clock::Clock;
use crate::configuration::LimitsSettings;
use crate::identifiers::TenantId;
use crate::limits::{Limiter, Rate, RateLimitState, network_of};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

tokio::task_local! {
    /// Of the buckets that the current request has used, the one with the least left.
    static TIGHTEST: Cell<Option<Named>>;
}

/// A bucket's name, which is the name of its setting, and its state.
type Named = (&'static str, RateLimitState);

/// All buckets. `None` if limits are switched off.
pub(super) struct Limits(Option<Buckets>);

struct Buckets {
    tenant_reads: Limiter<TenantId>,
    tenant_writes: Limiter<TenantId>,
    operator: Limiter<Uuid>,
    address: Limiter<IpAddr>,
    registration: Limiter<IpAddr>,
    /// `RateLimit-Policy` of each bucket, by the bucket's name.
    policies: Vec<(&'static str, HeaderValue)>,
}

impl Limits {
    pub fn new(settings: &LimitsSettings, clock: &Clock) -> Self {
        Self(settings.enabled.then(|| {
            Buckets {
                tenant_reads: Limiter::new(settings.tenant_reads, clock.clone()),
                tenant_writes: Limiter::new(settings.tenant_writes, clock.clone()),
                operator: Limiter::new(settings.operator, clock.clone()),
                address: Limiter::new(settings.address, clock.clone()),
                registration: Limiter::new(settings.registration, clock.clone()),
                policies: [
                    ("tenant_reads", settings.tenant_reads),
                    ("tenant_writes", settings.tenant_writes),
                    ("operator", settings.operator),
                    ("address", settings.address),
                    ("registration", settings.registration),
                ]
                .into_iter()
                .filter_map(|(name, rate)| Some((name, policy(name, rate)?)))
                .collect(),
            }
        }))
    }

    /// Charges a request to its tenant: safe methods as reads, others as writes.
    pub fn charge_tenant(&self, tenant: TenantId, method: &Method) -> Result<(), Problem> {
        let Some(buckets) = &self.0 else { return Ok(()) };
        match method.is_safe() {
            true => settle("tenant_reads", buckets.tenant_reads.take(tenant)),
            false => settle("tenant_writes", buckets.tenant_writes.take(tenant)),
        }
    }

    /// Charges a request of an operator.
    pub fn charge_operator(&self, operator: Uuid) -> Result<(), Problem> {
        match &self.0 {
            Some(buckets) => settle("operator", buckets.operator.take(operator)),
            None => Ok(()),
        }
    }

    /// Charges a request without a token to its network.
    pub fn charge_address(&self, address: IpAddr) -> Result<(), Problem> {
        match self.buckets_of(address) {
            Some(buckets) => settle("address", buckets.address.take(network_of(address))),
            None => Ok(()),
        }
    }

    /// Charges a registration to its network.
    pub fn charge_registration(&self, address: IpAddr) -> Result<(), Problem> {
        match self.buckets_of(address) {
            Some(buckets) => settle("registration", buckets.registration.take(network_of(address))),
            None => Ok(()),
        }
    }

    /// The buckets for an address; none for loopback. A loopback request without a client's address
    /// comes from a program of this machine, or from an unknown proxy, whose clients would all be
    /// refused together.
    fn buckets_of(&self, address: IpAddr) -> Option<&Buckets> {
        self.0.as_ref().filter(|_| !address.is_loopback())
    }
}

fn settle(
    name: &'static str,
    taken: Result<RateLimitState, RateLimitState>,
) -> Result<(), Problem> {
    match taken {
        Ok(standing) => {
            record(name, standing);
            Ok(())
        }
        Err(standing) => Err(refused(name, standing)),
    }
}

/// The problem for a request that found the bucket empty.
pub(super) fn refused(name: &'static str, standing: RateLimitState) -> Problem {
    record(name, standing);
    Problem::with_retry_after(Code::RateLimited, seconds(standing.wait))
}

fn record(name: &'static str, standing: RateLimitState) {
    let _ = TIGHTEST.try_with(|noted| {
        let tighter = noted.get().is_none_or(|(_, other)| standing.remaining <= other.remaining);
        if tighter {
            noted.set(Some((name, standing)));
        }
    });
}

/// Runs a request. Returns with its output the bucket, of those that it used, that is nearest to
/// empty.
pub(super) async fn watched<F: Future>(request: F) -> (F::Output, Option<Named>) {
    let watched = async {
        let output = request.await;
        (output, TIGHTEST.with(Cell::get))
    };
    TIGHTEST.scope(Cell::new(None), watched).await
}

impl Limits {
    /// `RateLimit-Policy: "login";q=10;w=900` and `RateLimit: "login";r=9;t=90`.
    pub fn describe(&self, (name, standing): Named, headers: &mut HeaderMap) {
        let RateLimitState { rate, remaining, full_in, .. } = standing;
        let known = self.0.as_ref().and_then(|buckets| {
            buckets.policies.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
        });
        let policy = known.cloned().or_else(|| policy(name, rate));
        let left = item(name, ("r", remaining), ("t", seconds(full_in)));
        for (header, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
            if let Some(value) = value {
                headers.insert(header, value);
            }
        }
    }
}

fn policy(name: &str, rate: Rate) -> Option<HeaderValue> {
    item(name, ("q", rate.count()), ("w", seconds(rate.period())))
}

/// `"name";q=10;w=900`. Written without the formatter, because every answer has it twice.
fn item(name: &str, first: (&str, u32), second: (&str, u32)) -> Option<HeaderValue> {
    let mut text = ShortText::<64>::default();
    text.push("\"")?;
    text.push(name)?;
    text.push("\"")?;
    for (key, number) in [first, second] {
        text.push(";")?;
        text.push(key)?;
        text.push("=")?;
        text.push_number(number)?;
    }
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

/// Whole seconds, rounded up, so that a client that waits for so long has waited long enough.
fn seconds(time: std::time::Duration) -> u32 {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn an_item_is_what_the_general_formatter_writes(name in "[a-z_]{1,20}", n: u32, m: u32) {
            let item = item(&name, ("q", n), ("w", m)).unwrap();
            prop_assert_eq!(item, format!("\"{name}\";q={n};w={m}"));
        }

        #[test]
        fn seconds_are_rounded_up(time in 0..u64::from(u32::MAX) * 1_000_000) {
            let time = Duration::from_micros(time);
            prop_assert_eq!(seconds(time), time.as_secs_f64().ceil() as u32);
        }
    }
}
