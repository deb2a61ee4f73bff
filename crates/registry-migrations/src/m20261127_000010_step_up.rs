//! Step-ups of sessions.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- Sessions, of staff and of operators, in which somebody has proven once more who they are.
CREATE TABLE step_ups (
    session_id uuid PRIMARY KEY,
    -- The member of staff, or the operator.
    account_id uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX step_ups_by_account ON step_ups (account_id);
";

const DOWN: &str = "DROP TABLE step_ups";

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
