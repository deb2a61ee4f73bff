//! Deliveries of providers, and Clerk's reports about its organizations, users and memberships.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- What a provider has delivered and is worked on after it was answered. The id is the provider's own and the same in
-- every attempt of its: a repeat meets the row. The body is sealed, and goes as soon as it is not needed any more.
CREATE TABLE webhook_deliveries (
    provider text NOT NULL,
    delivery_id text NOT NULL,
    event_type text NOT NULL,
    sealed_body bytea,
    status text NOT NULL CHECK (status IN ('processing', 'completed', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    -- Until then it belongs to the process that has claimed it.
    next_attempt_at timestamptz NOT NULL,
    -- What the last attempt met. Names nobody.
    reason text,
    received_at timestamptz NOT NULL,
    finished_at timestamptz,
    PRIMARY KEY (provider, delivery_id),
    CHECK ((status = 'processing') = (finished_at IS NULL)),
    CHECK ((status = 'completed') = (sealed_body IS NULL))
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (provider, next_attempt_at) WHERE status = 'processing';
CREATE INDEX webhook_deliveries_finished ON webhook_deliveries (finished_at) WHERE status <> 'processing';

-- What Clerk has said. Times are Clerk's, in milliseconds. A row can be there before anything is known of its thing:
-- events overtake each other.
CREATE TABLE clerk_organizations (
    id text PRIMARY KEY,
    name text,
    slug text,
    created_by text,
    updated_ms bigint NOT NULL DEFAULT 0,
    sent_ms bigint NOT NULL DEFAULT 0,
    -- Clerk has said that it was created; without that no tenant is made of it.
    created_seen boolean NOT NULL DEFAULT false,
    deleted boolean NOT NULL DEFAULT false,
    -- No references: the tenant's row is written by the run, and goes with a run that fails.
    tenant_id uuid CONSTRAINT clerk_organizations_tenant_id_key UNIQUE,
    run_id uuid,
    CHECK (run_id IS NULL OR tenant_id IS NOT NULL),
    -- Raised by every change of what Clerk says of it or its people; `settled` follows when tenant and email index
    -- say the same.
    changes bigint NOT NULL DEFAULT 0,
    settled bigint NOT NULL DEFAULT 0,
    settle_attempts integer NOT NULL DEFAULT 0,
    next_settle_at timestamptz NOT NULL
);
CREATE INDEX clerk_organizations_unsettled ON clerk_organizations (next_settle_at)
    WHERE created_seen AND changes > settled;

CREATE TABLE clerk_users (
    id text PRIMARY KEY,
    -- Address and names, sealed; NULL: unknown.
    sealed_profile bytea,
    -- From an event of the user; otherwise only as a membership showed them.
    authoritative boolean NOT NULL DEFAULT false,
    updated_ms bigint NOT NULL DEFAULT 0,
    sent_ms bigint NOT NULL DEFAULT 0,
    deleted boolean NOT NULL DEFAULT false
);

-- One row for each time that somebody became a member. Whoever left and came back has two.
CREATE TABLE clerk_memberships (
    id text PRIMARY KEY,
    -- NULL where only the end of it has been heard of.
    organization_id text,
    user_id text,
    role text NOT NULL DEFAULT '',
    updated_ms bigint NOT NULL DEFAULT 0,
    sent_ms bigint NOT NULL DEFAULT 0,
    deleted boolean NOT NULL DEFAULT false
);
CREATE INDEX clerk_memberships_by_organization ON clerk_memberships (organization_id, user_id);
CREATE INDEX clerk_memberships_by_user ON clerk_memberships (user_id);

-- What was made of them: which member of a tenant's staff a user is, and under which address the email index knows
-- them because of it.
CREATE TABLE clerk_staff (
    organization_id text NOT NULL REFERENCES clerk_organizations (id),
    user_id text NOT NULL,
    staff_id uuid NOT NULL,
    role text NOT NULL,
    email_hash bytea,
    active boolean NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX clerk_staff_by_user ON clerk_staff (user_id);
";

const DOWN: &str = r"
DROP TABLE clerk_staff, clerk_memberships, clerk_users, clerk_organizations, webhook_deliveries;
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
