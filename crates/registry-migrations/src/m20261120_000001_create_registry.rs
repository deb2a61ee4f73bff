//! Tenants and the ways to find them, provisioning history, keys, revocations and parked events.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
CREATE TABLE database_servers (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    -- NULL: the server of the registry itself, reached as the registry is.
    host text,
    port integer CHECK (port BETWEEN 1 AND 65535),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'draining', 'full')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((host IS NULL) = (port IS NULL))
);
INSERT INTO database_servers (id, name) VALUES ('00000000-0000-7000-8000-000000000001', 'registry');

CREATE TABLE tenants (
    id uuid PRIMARY KEY,
    slug text NOT NULL CONSTRAINT tenants_slug_key UNIQUE,
    organization_name text NOT NULL,
    timezone text NOT NULL,
    plan text NOT NULL DEFAULT 'standard',
    status text NOT NULL CHECK (status IN
        ('pending', 'provisioning', 'active', 'suspended', 'failed', 'deleted', 'purging', 'purged')),
    server_id uuid NOT NULL REFERENCES database_servers (id),
    database_name text NOT NULL UNIQUE,
    role_name text NOT NULL UNIQUE,
    sealed_password bytea NOT NULL,
    schema_version text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CREATE INDEX tenants_by_status ON tenants (status, created_at);

-- One email may be staff of several tenants, but the self-registered owner of one only: the partial index
-- decides between registrations that race.
CREATE TABLE email_index (
    email_hash bytea NOT NULL,
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    self_registered_owner boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (email_hash, tenant_id)
);
CREATE UNIQUE INDEX email_index_one_owner ON email_index (email_hash) WHERE self_registered_owner;
CREATE INDEX email_index_by_tenant ON email_index (tenant_id);

CREATE TABLE phone_numbers (
    id uuid PRIMARY KEY,
    number text NOT NULL,
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    valid_from timestamptz NOT NULL,
    valid_until timestamptz,
    CHECK (valid_until IS NULL OR valid_until > valid_from)
);
CREATE UNIQUE INDEX phone_numbers_one_holder ON phone_numbers (number) WHERE valid_until IS NULL;
CREATE INDEX phone_numbers_history ON phone_numbers (number, valid_from);
CREATE INDEX phone_numbers_by_tenant ON phone_numbers (tenant_id);

-- The history of every attempt to make a tenant. Holds no personal data, and outlives what it made.
CREATE TABLE provisioning_runs (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('create_tenant')),
    tenant_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'compensating', 'failed')),
    error_code text,
    error_detail text,
    created_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX provisioning_runs_by_tenant ON provisioning_runs (tenant_id);
CREATE TABLE provisioning_steps (
    run_id uuid NOT NULL REFERENCES provisioning_runs (id) ON DELETE CASCADE,
    position integer NOT NULL,
    name text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'failed', 'compensated')),
    attempts integer NOT NULL DEFAULT 0,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (run_id, position)
);

-- Events of a provider that could not be written to a tenant when they came. The provider's bytes are sealed;
-- of the numbers in them only keyed hashes are kept.
CREATE TABLE parked_events (
    id uuid PRIMARY KEY,
    provider text NOT NULL,
    provider_event_id text NOT NULL,
    sealed_body bytea NOT NULL,
    number_hashes bytea[] NOT NULL,
    reason text NOT NULL,
    status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT parked_events_once UNIQUE (provider, provider_event_id)
);
CREATE INDEX parked_events_due ON parked_events (next_attempt_at) WHERE status = 'waiting';
CREATE INDEX parked_events_numbers ON parked_events USING gin (number_hashes);

CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    public_key bytea NOT NULL,
    sealed_seed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    retired_at timestamptz
);

-- Sessions whose access tokens may no longer be used although signature and age are good. A row matters for one
-- token life. `recorded_at` is the server's clock, by which replicas read what is new.
CREATE TABLE revoked_tokens (
    session_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX revoked_tokens_by_record ON revoked_tokens (recorded_at);
CREATE INDEX revoked_tokens_by_expiry ON revoked_tokens (expires_at);

CREATE TABLE system_config (
    key text PRIMARY KEY,
    sealed_value bytea NOT NULL,
    created_at timestamptz NOT NULL
);
";

const DOWN: &str = r"
DROP TABLE system_config, revoked_tokens, signing_keys, parked_events, provisioning_steps, provisioning_runs,
    phone_numbers, email_index, tenants, database_servers;
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
