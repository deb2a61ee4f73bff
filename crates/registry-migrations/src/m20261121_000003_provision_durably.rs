//! Runs that survive their process, their resources, warm databases, and idempotency of
//! registrations.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- A run belongs to whoever claimed it last: the fence counts the claims, and a result counts only with the fence that
-- its worker got. Leases are judged by the clock of this server alone.
ALTER TABLE provisioning_runs
    DROP CONSTRAINT provisioning_runs_kind_check,
    ADD CHECK (kind IN ('create_tenant', 'announce_tenant', 'purge_tenant', 'reprovision_tenant')),
    -- Of the definition, whose steps were written down with the run.
    ADD COLUMN version integer NOT NULL DEFAULT 1,
    -- What the steps need to know, sealed because of the people in it; gone when the run has ended.
    ADD COLUMN sealed_input bytea,
    ADD COLUMN fence bigint NOT NULL DEFAULT 0,
    ADD COLUMN lease_owner text,
    ADD COLUMN lease_until timestamptz,
    -- What writes no time here is a program of an earlier version, which works on the run itself.
    ADD COLUMN next_attempt_at timestamptz NOT NULL DEFAULT now() + interval '10 minutes',
    ADD COLUMN cancel_requested_at timestamptz;
CREATE INDEX provisioning_runs_due ON provisioning_runs (next_attempt_at)
    WHERE status IN ('pending', 'running', 'compensating');
-- Nobody makes, mends and removes a tenant at the same time.
CREATE UNIQUE INDEX provisioning_runs_one_open ON provisioning_runs (tenant_id)
    WHERE status IN ('pending', 'running', 'compensating') AND kind <> 'announce_tenant';
CREATE INDEX provisioning_runs_newest ON provisioning_runs (created_at DESC, id DESC);

ALTER TABLE provisioning_steps
    ADD COLUMN undo_attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN last_error text,
    ADD COLUMN undo_error text,
    ADD COLUMN next_attempt_at timestamptz;

-- Everything that happened to a run, in order. Only added to.
CREATE TABLE provisioning_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL REFERENCES provisioning_runs (id) ON DELETE CASCADE,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL,
    step text,
    attempt integer,
    -- The process, or the person, that did it.
    actor text NOT NULL,
    detail text
);
CREATE INDEX provisioning_events_by_run ON provisioning_events (run_id, id);

-- Runs that were cut off before there were leases: what is whole stays, everything else is undone.
UPDATE provisioning_steps SET name = 'schema' WHERE name = 'identity';
UPDATE provisioning_runs r SET status = 'completed', finished_at = now()
    WHERE status IN ('pending', 'running', 'compensating') AND EXISTS (SELECT FROM tenants t
        WHERE t.id = r.tenant_id AND t.status NOT IN ('pending', 'provisioning', 'failed'));
UPDATE provisioning_steps s SET status = 'failed' FROM provisioning_runs r
    WHERE r.id = s.run_id AND r.status IN ('pending', 'running', 'compensating') AND s.status IN ('pending', 'running');
UPDATE provisioning_runs
    SET status = 'compensating', error_code = COALESCE(error_code, 'provisioning_failed'),
        error_detail = COALESCE(error_detail, 'the organization could not be created; please try again'),
        -- A replica of the earlier version may still be at it.
        next_attempt_at = now() + interval '10 minutes'
    WHERE status IN ('pending', 'running', 'compensating');

-- Every thing outside the registry that was made for a tenant.
CREATE TABLE resources (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    -- What it is called where it is.
    reference text NOT NULL,
    server_id uuid REFERENCES database_servers (id),
    run_id uuid REFERENCES provisioning_runs (id) ON DELETE SET NULL,
    made_at timestamptz NOT NULL,
    released_at timestamptz
);
CREATE UNIQUE INDEX resources_once ON resources (tenant_id, kind, reference) WHERE released_at IS NULL;
INSERT INTO resources (tenant_id, kind, reference, server_id, made_at)
    SELECT id, kind, database_name, server_id, created_at FROM tenants, (VALUES ('role'), ('database')) AS kinds (kind)
    WHERE status <> 'purged';

-- Answers to registrations, by the key that the client chose. Both hashes are keyed.
CREATE TABLE registrations (
    key_hash bytea PRIMARY KEY,
    request_hash bytea NOT NULL,
    run_id uuid NOT NULL REFERENCES provisioning_runs (id) ON DELETE CASCADE,
    owner_id uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX registrations_by_expiry ON registrations (expires_at);

-- Databases that wait for a tenant. What is being made or removed belongs to whoever holds the server's lock for it.
CREATE TABLE spare_databases (
    name text PRIMARY KEY,
    server_id uuid NOT NULL REFERENCES database_servers (id),
    template text NOT NULL,
    schema_version text NOT NULL,
    state text NOT NULL CHECK (state IN ('making', 'ready', 'claimed', 'removing')),
    claimed_by uuid UNIQUE,
    created_at timestamptz NOT NULL,
    CHECK ((state = 'claimed') = (claimed_by IS NOT NULL))
);
CREATE INDEX spare_databases_ready ON spare_databases (server_id, template, created_at) WHERE state = 'ready';

-- What a deleted tenant becomes again.
ALTER TABLE tenants ADD COLUMN status_before_deletion text;
UPDATE tenants SET status_before_deletion = 'active' WHERE status = 'deleted';
CREATE INDEX tenants_by_deletion ON tenants (deleted_at) WHERE status = 'deleted';
";

const DOWN: &str = r"
DROP INDEX tenants_by_deletion;
ALTER TABLE tenants DROP COLUMN status_before_deletion;
DROP TABLE spare_databases, registrations, resources, provisioning_events;
ALTER TABLE provisioning_steps DROP COLUMN undo_attempts, DROP COLUMN last_error, DROP COLUMN undo_error, DROP COLUMN next_attempt_at;
UPDATE provisioning_steps SET name = 'identity' WHERE name = 'schema';
DROP INDEX provisioning_runs_due, provisioning_runs_one_open, provisioning_runs_newest;
DELETE FROM provisioning_runs WHERE kind <> 'create_tenant';
ALTER TABLE provisioning_runs
    DROP CONSTRAINT provisioning_runs_kind_check,
    ADD CHECK (kind IN ('create_tenant')),
    DROP COLUMN version, DROP COLUMN sealed_input, DROP COLUMN fence, DROP COLUMN lease_owner, DROP COLUMN lease_until,
    DROP COLUMN next_attempt_at, DROP COLUMN cancel_requested_at;
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
