//! The actions of operators by command, with the name of the operator.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- Only added to. What is done to a run stands in its own history.
CREATE TABLE operator_acts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    -- Past tense: `suspended`, `deleted`, `dropped`.
    act text NOT NULL,
    -- Whom it concerns; stays when the tenant is gone.
    tenant_id uuid,
    detail text
);
CREATE INDEX operator_acts_by_tenant ON operator_acts (tenant_id, id);
";

const DOWN: &str = r"
DROP TABLE operator_acts;
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
