//! Only chained entries stay in the audit log.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- What was noted before there was a chain. Nothing can prove it, and nobody adds to it.
CREATE TABLE audit_log_unchained AS SELECT * FROM audit_log WHERE sequence <= 0;
DELETE FROM audit_log WHERE sequence <= 0;
ALTER TABLE audit_log ADD CONSTRAINT audit_log_is_numbered CHECK (sequence > 0),
    -- Of what is there, the chain itself tells.
    ADD CONSTRAINT audit_log_is_chained CHECK (hash IS NOT NULL) NOT VALID;
";

const DOWN: &str = r"
ALTER TABLE audit_log DROP CONSTRAINT audit_log_is_chained, DROP CONSTRAINT audit_log_is_numbered;
INSERT INTO audit_log SELECT * FROM audit_log_unchained;
DROP TABLE audit_log_unchained;
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
