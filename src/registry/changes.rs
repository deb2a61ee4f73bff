//! Changes in the registry. Triggers announce each change at its commit, and a separate connection
//! listens.

use std::time::Duration;

use sea_orm::{DbBackend, Statement};
use sqlx::Executor as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};

use super::{OnRegistry, RegistryError};
use crate::identifiers::{ServerId, TenantId};

/// The notification channel of the triggers in the registry's migrations.
const CHANNEL: &str = "narthex_changes";

/// A change of data that replicas may have cached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The row of this tenant has changed.
    Tenant(TenantId),
    /// This slug or domain may lead to another tenant.
    Host(String),
    /// The row of this database server has changed.
    Server(ServerId),
    /// Anything may have changed.
    Everything,
}

impl Change {
    /// An announcement that this version does not know may mean any change.
    fn read(payload: &str) -> Self {
        let known = match payload.split_once(':') {
            Some(("tenant", id)) => id.parse().ok().map(|id| Self::Tenant(TenantId(id))),
            Some(("host", name)) => Some(Self::Host(name.to_owned())),
            Some(("server", id)) => id.parse().ok().map(Self::Server),
            _ => None,
        };
        known.unwrap_or(Self::Everything)
    }
}

/// A listener that has received every change since it was opened. After a failure, changes may have
/// been missed.
pub struct Changes {
    listener: PgListener,
}

impl Changes {
    pub(super) async fn open(
        options: PgConnectOptions,
        limit: Duration,
    ) -> Result<Self, RegistryError> {
        let open = async {
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .acquire_timeout(limit)
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_lazy_with(options.application_name("narthex/changes"));
            let mut listener = PgListener::connect_with(&pool).await?;
            // The caller has to know of a lost connection, so the listener must not reconnect
            // silently.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(Self { listener })
        };
        limited(limit, open).await
    }

    /// Waits up to `patience` for a change, and then `debounce` for further changes.
    pub async fn next(
        &mut self,
        patience: Duration,
        debounce: Duration,
    ) -> Result<Vec<Change>, RegistryError> {
        let lost = || RegistryError::Unavailable("the listener has lost its connection".to_owned());
        let first = match tokio::time::timeout(patience, self.listener.try_recv()).await {
            Err(_elapsed) => return Ok(Vec::new()),
            Ok(received) => received.map_err(unavailable)?.ok_or_else(lost)?,
        };
        let mut changes = vec![Change::read(first.payload())];
        let more = async {
            loop {
                match self.listener.try_recv().await {
                    Ok(Some(change)) => changes.push(Change::read(change.payload())),
                    Ok(None) => return Err(lost()),
                    Err(error) => return Err(unavailable(error)),
                }
            }
        };
        match tokio::time::timeout(debounce, more).await {
            Err(_elapsed) => Ok(changes),
            Ok(ended) => ended,
        }
    }

    /// A round trip on the listening connection. Every change that was committed before the call is
    /// in the answer, or was returned before.
    pub async fn confirm(&mut self, limit: Duration) -> Result<Vec<Change>, RegistryError> {
        limited(limit, async { self.listener.execute("SELECT 1").await.map(|_| ()) }).await?;
        let told = std::iter::from_fn(|| self.listener.next_buffered());
        Ok(told.map(|change: PgNotification| Change::read(change.payload())).collect())
    }
}

/// How full the notification queue of the registry's server is, from 0 to 1. Any listener that
/// stays in a transaction keeps the queue from being emptied. When the queue is full, no
/// transaction that notifies can commit.
pub async fn queue_usage(db: &impl OnRegistry) -> Result<f64, RegistryError> {
    const SQL: &str = "SELECT pg_notification_queue_usage() AS usage";
    let row = db.query_one_raw(Statement::from_string(DbBackend::Postgres, SQL)).await?;
    Ok(row.map(|row| row.try_get("", "usage")).transpose()?.unwrap_or_default())
}

fn unavailable(error: sqlx::Error) -> RegistryError {
    RegistryError::Unavailable(error.to_string())
}

async fn limited<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, RegistryError> {
    match tokio::time::timeout(limit, exchange).await {
        Ok(done) => done.map_err(unavailable),
        Err(_) => Err(RegistryError::Unavailable("it did not answer in time".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("host:grace", Change::Host("grace".to_owned()))]
    #[case(
        "tenant:00000000-0000-7000-8000-000000000001",
        Change::Tenant(TenantId(crate::registry::tenants::REGISTRY_SERVER.0))
    )]
    #[case(
        "server:00000000-0000-7000-8000-000000000001",
        Change::Server(crate::registry::tenants::REGISTRY_SERVER)
    )]
    #[case("*", Change::Everything)]
    #[case("tenant:nobody", Change::Everything)]
    #[case("of a later version:1", Change::Everything)]
    #[case("", Change::Everything)]
    fn announcements_are_read(#[case] payload: &str, #[case] expected: Change) {
        assert_eq!(Change::read(payload), expected);
    }
}
