//! Locks of a server that all replicas share. They go with the connection that holds them.

use sqlx::Row as _;

use super::{Administration, AdministrationError};

/// Names the advisory locks of a server (first key); the second key says which.
const LOCK_SPACE: i32 = 0x6e61_7274;
/// At most this many copies of a template at once per server, over all replicas: more were slower.
const COPY_SLOTS: i32 = 2;

/// The locks of a server that are held for longer than a copy.
#[derive(Clone, Copy, Debug)]
pub enum ServerLock {
    /// Making the template database.
    Template = 100,
    /// Migrating the registry.
    RegistryMigration = 101,
    /// Making spare databases.
    Spares = 102,
    /// Dropping a tenant's database for good.
    Drop = 103,
    /// Comparing all servers with the registry.
    Reconcile = 104,
}

impl Administration {
    /// Takes a lock that all replicas share, until [`Administration::unlock`] or the end of this connection.
    pub async fn lock(&mut self, which: ServerLock) -> Result<(), AdministrationError> {
        sqlx::query("SELECT pg_advisory_lock($1, $2)")
            .bind(LOCK_SPACE)
            .bind(which as i32)
            .execute(&mut self.socket)
            .await?;
        Ok(())
    }

    /// As [`Administration::lock`], without waiting: `false` where another has it.
    pub async fn try_lock(&mut self, which: ServerLock) -> Result<bool, AdministrationError> {
        self.try_lock_number(which as i32).await
    }

    async fn try_lock_number(&mut self, number: i32) -> Result<bool, AdministrationError> {
        let row = sqlx::query("SELECT pg_try_advisory_lock($1, $2)")
            .bind(LOCK_SPACE)
            .bind(number)
            .fetch_one(&mut self.socket)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Takes the lock of one tenant, until [`Administration::unlock_all`] or the end of this connection. The server lets it go when the last statement of
    /// the connection is over, even where the process that sent it is long dead.
    pub async fn lock_for(&mut self, tenant: uuid::Uuid) -> Result<(), AdministrationError> {
        // The last half of the id is random.
        let key = i64::from_be_bytes(tenant.as_u64_pair().1.to_be_bytes());
        sqlx::query("SELECT pg_advisory_lock($1)").bind(key).execute(&mut self.socket).await?;
        Ok(())
    }

    pub(super) async fn take_copy_slot(&mut self) -> Result<i32, AdministrationError> {
        for slot in 0..COPY_SLOTS {
            if self.try_lock_number(slot).await? {
                return Ok(slot);
            }
        }
        // Both are taken: stand in line for one of them, spread by our own process number on the server.
        let row = sqlx::query("SELECT pg_backend_pid() % $1")
            .bind(COPY_SLOTS)
            .fetch_one(&mut self.socket)
            .await?;
        let slot: i32 = row.try_get(0)?;
        sqlx::query("SELECT pg_advisory_lock($1, $2)")
            .bind(LOCK_SPACE)
            .bind(slot)
            .execute(&mut self.socket)
            .await?;
        Ok(slot)
    }

    /// Lets every lock of this connection go.
    pub async fn unlock_all(&mut self) -> Result<(), AdministrationError> {
        sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut self.socket).await?;
        Ok(())
    }

    /// Lets one lock go.
    pub async fn unlock(&mut self, which: ServerLock) -> Result<(), AdministrationError> {
        self.unlock_number(which as i32).await
    }

    pub(super) async fn unlock_number(&mut self, number: i32) -> Result<(), AdministrationError> {
        sqlx::query("SELECT pg_advisory_unlock($1, $2)")
            .bind(LOCK_SPACE)
            .bind(number)
            .execute(&mut self.socket)
            .await?;
        Ok(())
    }
}
