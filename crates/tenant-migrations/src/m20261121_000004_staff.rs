//! More than one member of staff, second factors, programs that call, support by operators, and the log of it all.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- The secret that an authenticator app shares with us, sealed. One that is not confirmed yet asks for no code.
CREATE TABLE staff_totp (
    staff_id uuid PRIMARY KEY REFERENCES staff (id) ON DELETE CASCADE,
    sealed_secret bytea NOT NULL,
    created_at timestamptz NOT NULL,
    confirmed_at timestamptz,
    -- The step of the last code: no code is good twice.
    last_step bigint NOT NULL DEFAULT 0
);
CREATE TABLE recovery_codes (
    staff_id uuid NOT NULL REFERENCES staff (id) ON DELETE CASCADE,
    code_hash bytea NOT NULL,
    PRIMARY KEY (staff_id, code_hash)
);

-- A letter can also invite somebody, or prove the address that is to be theirs.
ALTER TABLE one_time_tokens DROP CONSTRAINT one_time_tokens_purpose_check;
ALTER TABLE one_time_tokens ADD CONSTRAINT one_time_tokens_purpose_check
    CHECK (purpose IN ('password_reset', 'email_verification', 'invitation', 'email_change'));
CREATE INDEX staff_newest ON staff (created_at DESC, id DESC);
CREATE INDEX staff_by_role ON staff (role);

-- Programs of the tenant's own. Of a key only its SHA-256 is kept.
CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    key_hash bytea NOT NULL CONSTRAINT api_keys_hash_key UNIQUE,
    -- The end of the key, by which people tell theirs apart.
    hint text NOT NULL,
    permissions text[] NOT NULL,
    -- Stays when they leave: so it is known which keys to look at.
    created_by uuid,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    last_used_ip text
);
CREATE INDEX api_keys_newest ON api_keys (created_at DESC, id DESC);

-- Operators who look into the tenant, for a while and with a reason. The id is the `sid` of their token.
CREATE TABLE impersonations (
    id uuid PRIMARY KEY,
    operator_id uuid NOT NULL,
    operator_name text NOT NULL,
    reason text NOT NULL,
    may_write boolean NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX impersonations_newest ON impersonations (created_at DESC, id DESC);

-- Chained: see `audit.rs`. The tenant's own role may add to it, and neither change nor remove anything.
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
";

const DOWN: &str = r"
DROP TABLE audit_log, impersonations, api_keys;
DROP INDEX staff_by_role, staff_newest;
DELETE FROM one_time_tokens WHERE purpose NOT IN ('password_reset', 'email_verification');
ALTER TABLE one_time_tokens DROP CONSTRAINT one_time_tokens_purpose_check;
ALTER TABLE one_time_tokens ADD CONSTRAINT one_time_tokens_purpose_check
    CHECK (purpose IN ('password_reset', 'email_verification'));
DROP TABLE recovery_codes, staff_totp;
UPDATE staff SET mfa_enabled = false;
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
