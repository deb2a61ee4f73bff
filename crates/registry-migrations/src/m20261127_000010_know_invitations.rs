//! For each address of a tenant: whether it was only invited.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- NULL: written by a program that did not ask. A job asks the tenant.
ALTER TABLE email_index ADD COLUMN invited boolean;
UPDATE email_index SET invited = false WHERE self_registered_owner;
CREATE INDEX email_index_unasked ON email_index (tenant_id) WHERE invited IS NULL;
";

const DOWN: &str = r"
DROP INDEX email_index_unasked;
ALTER TABLE email_index DROP COLUMN invited;
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
