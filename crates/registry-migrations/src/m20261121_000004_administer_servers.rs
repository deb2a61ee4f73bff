//! How each database server is administered, and how many tenants it accepts.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
ALTER TABLE database_servers
    -- The registry's own server is administered as registry.url says.
    ADD COLUMN administration_user text,
    ADD COLUMN sealed_administration_password bytea,
    -- 5,000 databases take about 40 GB before anything is in them, and the server some 20 s to start after a crash.
    ADD COLUMN max_tenants integer NOT NULL DEFAULT 5000 CHECK (max_tenants >= 0),
    -- What the cluster says of itself (pg_control_system), so that none is taken for two.
    ADD COLUMN system_identifier bigint CONSTRAINT database_servers_system_identifier_key UNIQUE;
-- A server that was known before can be used, and not administered: it serves the tenants it has, and gets no new ones.
UPDATE database_servers SET state = 'full' WHERE host IS NOT NULL AND state = 'active';
ALTER TABLE database_servers
    ADD CONSTRAINT database_servers_whole_credentials
        CHECK ((administration_user IS NULL) = (sealed_administration_password IS NULL)),
    ADD CONSTRAINT database_servers_own_credentials CHECK (host IS NOT NULL OR administration_user IS NULL),
    ADD CONSTRAINT database_servers_active_credentials
        CHECK (host IS NULL OR administration_user IS NOT NULL OR state <> 'active');
-- For counting the tenants of a server.
CREATE INDEX tenants_by_server ON tenants (server_id, status);
";

const DOWN: &str = r"
DROP INDEX tenants_by_server;
ALTER TABLE database_servers
    DROP CONSTRAINT database_servers_active_credentials,
    DROP CONSTRAINT database_servers_own_credentials,
    DROP CONSTRAINT database_servers_whole_credentials,
    DROP COLUMN administration_user,
    DROP COLUMN sealed_administration_password,
    DROP COLUMN max_tenants,
    DROP COLUMN system_identifier;
";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(UP).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(DOWN).await?;
        Ok(())
    }
}
