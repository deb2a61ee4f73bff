//! The time of a parked event, so that its tenant can be determined without unsealing it.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let up = "ALTER TABLE parked_events ADD COLUMN occurred_at timestamptz";
        manager.get_connection().execute_unprepared(up).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let down = "ALTER TABLE parked_events DROP COLUMN occurred_at";
        manager.get_connection().execute_unprepared(down).await?;
        Ok(())
    }
}
