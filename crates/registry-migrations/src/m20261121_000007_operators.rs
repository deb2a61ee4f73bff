//! Operators of the installation, their sessions, and the audit log of their actions.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- Chained: see `audit.rs`. What was noted before has no hash, and stands in front of the chain: at 0, -1, -2.
CREATE TABLE audit_log (
    sequence bigint PRIMARY KEY,
    id uuid NOT NULL CONSTRAINT audit_log_id_key UNIQUE,
    occurred_at timestamptz NOT NULL,
    actor_kind text NOT NULL,
    actor_id uuid,
    actor_name text NOT NULL,
    action text NOT NULL,
    target_kind text,
    target_id text,
    detail text NOT NULL,
    ip text,
    user_agent text,
    request_id text,
    hash bytea
);
CREATE INDEX audit_log_newest ON audit_log (occurred_at DESC, id DESC);
CREATE INDEX audit_log_by_target ON audit_log (target_id, occurred_at DESC, id DESC);
CREATE INDEX audit_log_by_actor ON audit_log (actor_id, occurred_at DESC, id DESC);
CREATE INDEX audit_log_by_action ON audit_log (action, occurred_at DESC, id DESC);
INSERT INTO audit_log (sequence, id, occurred_at, actor_kind, actor_name, action, target_kind, target_id, detail)
SELECT row_number() OVER (ORDER BY id) - count(*) OVER (), gen_random_uuid(), occurred_at, 'command', actor,
    CASE act WHEN 'dropped an orphan' THEN 'orphan.dropped' ELSE 'tenant.' || act END,
    CASE WHEN tenant_id IS NOT NULL THEN 'tenant' END, tenant_id::text,
    CASE WHEN detail IS NULL THEN '{}' ELSE jsonb_build_object('note', detail)::text END
FROM operator_acts;
DROP TABLE operator_acts;

-- Where each log was seen to end when it was last verified: of the registry, and of each tenant.
CREATE TABLE audit_heads (
    chain text PRIMARY KEY,
    sequence bigint NOT NULL,
    hash bytea,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Tokens of tenants and of operators are signed with different keys.
ALTER TABLE signing_keys ADD COLUMN audience text NOT NULL DEFAULT 'tenant' CHECK (audience IN ('tenant', 'operator'));

CREATE TABLE operators (
    id uuid PRIMARY KEY,
    email_hash bytea NOT NULL CONSTRAINT operators_email_key UNIQUE,
    sealed_email bytea NOT NULL,
    name text NOT NULL,
    password_hash text NOT NULL,
    password_set_at timestamptz NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'support', 'admin')),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    -- A secret that is not confirmed yet asks for no code.
    sealed_totp_secret bytea,
    totp_confirmed_at timestamptz,
    -- The step of the last code: no code is good twice.
    totp_last_step bigint NOT NULL DEFAULT 0,
    last_login_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE TABLE operator_recovery_codes (
    operator_id uuid NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    code_hash bytea NOT NULL,
    PRIMARY KEY (operator_id, code_hash)
);
CREATE TABLE operator_sessions (
    id uuid PRIMARY KEY,
    operator_id uuid NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ip text,
    user_agent text
);
CREATE INDEX operator_sessions_by_operator ON operator_sessions (operator_id);

-- Since when it is not certain that a member of the tenant's staff has the address: see `email_index.rs`.
ALTER TABLE email_index ADD COLUMN unsettled_since timestamptz,
    -- Was it uncertain already when it became uncertain again?
    ADD COLUMN contested boolean NOT NULL DEFAULT false;
CREATE INDEX email_index_unsettled ON email_index (unsettled_since) WHERE unsettled_since IS NOT NULL;
";

const DOWN: &str = r"
DROP INDEX email_index_unsettled;
ALTER TABLE email_index DROP COLUMN contested, DROP COLUMN unsettled_since;
DROP TABLE operator_sessions, operator_recovery_codes, operators;
DELETE FROM signing_keys WHERE audience <> 'tenant';
ALTER TABLE signing_keys DROP COLUMN audience;
DROP TABLE audit_heads;
CREATE TABLE operator_acts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    act text NOT NULL,
    tenant_id uuid,
    detail text
);
CREATE INDEX operator_acts_by_tenant ON operator_acts (tenant_id, id);
INSERT INTO operator_acts (occurred_at, actor, act, tenant_id, detail)
SELECT occurred_at, actor_name, CASE action WHEN 'orphan.dropped' THEN 'dropped an orphan' ELSE substr(action, 8) END,
    CASE WHEN target_kind = 'tenant' THEN target_id::uuid END, detail::jsonb ->> 'note'
FROM audit_log
-- What the table knew.
WHERE action IN ('orphan.dropped', 'tenant.suspended', 'tenant.resumed', 'tenant.deleted', 'tenant.restored')
ORDER BY sequence;
DROP TABLE audit_log;
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
