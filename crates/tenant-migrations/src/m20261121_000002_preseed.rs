//! What every tenant finds on its first day, and whom its staff are to identity providers.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- What a role can permit. The program checks these, so that it alone says which there are.
CREATE TABLE permissions (
    name text PRIMARY KEY,
    description text NOT NULL
);

CREATE TABLE settings (
    key text PRIMARY KEY,
    value jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- For user interfaces: what the product's objects are called, and which fields they have. `object` is a table's name.
CREATE TABLE object_metadata (
    object text PRIMARY KEY,
    label text NOT NULL,
    label_plural text NOT NULL,
    fields jsonb NOT NULL CHECK (jsonb_typeof(fields) = 'array')
);

CREATE TABLE pipelines (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL CONSTRAINT pipelines_name_key UNIQUE,
    object text NOT NULL REFERENCES object_metadata (object),
    position integer NOT NULL
);
CREATE TABLE pipeline_stages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    pipeline_id uuid NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    name text NOT NULL,
    position integer NOT NULL,
    CONSTRAINT pipeline_stages_name_key UNIQUE (pipeline_id, name)
);

-- Staff whom an identity provider knows. It knows each of them once, and nobody as two of them.
CREATE TABLE external_identities (
    staff_id uuid NOT NULL REFERENCES staff (id) ON DELETE CASCADE,
    provider text NOT NULL,
    external_id text NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (provider, external_id),
    CONSTRAINT external_identities_one_each UNIQUE (staff_id, provider)
);
";

const DOWN: &str = r"
DROP TABLE external_identities, pipeline_stages, pipelines, object_metadata, settings, permissions;
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
