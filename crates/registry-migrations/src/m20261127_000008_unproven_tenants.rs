//! Tenants for which it is unknown whether a member has proven an address.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
CREATE TABLE unproven_tenants (
    tenant_id uuid PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When it was last asked in vain.
    asked_at timestamptz
);
CREATE INDEX unproven_tenants_oldest ON unproven_tenants (registered_at);
";

const DOWN: &str = r"
DROP TABLE unproven_tenants;
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
