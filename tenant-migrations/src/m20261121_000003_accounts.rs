//! What staff need to keep their accounts safe: from where each session is used.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- The last client of a session: its address, and what it calls itself.
ALTER TABLE sessions ADD COLUMN ip text, ADD COLUMN user_agent text;
-- What is over is found by this, and removed.
CREATE INDEX sessions_by_end ON sessions (LEAST(expires_at, revoked_at));
CREATE INDEX refresh_tokens_by_use ON refresh_tokens (used_at) WHERE used_at IS NOT NULL;
";

const DOWN: &str = r"
DROP INDEX refresh_tokens_by_use;
DROP INDEX sessions_by_end;
ALTER TABLE sessions DROP COLUMN user_agent, DROP COLUMN ip;
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
