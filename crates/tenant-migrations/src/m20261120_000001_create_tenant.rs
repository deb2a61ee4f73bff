//! Identity, staff and sessions; members, branches and groups; conversations and the events that fed them.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- Exactly one row, written when the database becomes a tenant's. Every new connection reads it.
CREATE TABLE tenant_identity (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    tenant_id uuid NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE roles (
    id uuid PRIMARY KEY,
    name text NOT NULL CONSTRAINT roles_name_key UNIQUE,
    permissions text[] NOT NULL,
    built_in boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE staff (
    id uuid PRIMARY KEY,
    email text NOT NULL CONSTRAINT staff_email_key UNIQUE,
    password_hash text NOT NULL,
    first_name text NOT NULL,
    last_name text NOT NULL,
    role text NOT NULL REFERENCES roles (name) ON UPDATE CASCADE,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('invited', 'active', 'disabled')),
    mfa_enabled boolean NOT NULL DEFAULT false,
    last_login_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    staff_id uuid NOT NULL REFERENCES staff (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX sessions_by_staff ON sessions (staff_id);

-- Every refresh token ever given out in a session, by its SHA-256: a used one that comes back betrays a theft.
CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

CREATE TABLE branches (
    id uuid PRIMARY KEY,
    name text NOT NULL CONSTRAINT branches_name_key UNIQUE,
    timezone text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX branches_newest ON branches (created_at DESC, id DESC);

CREATE TABLE members (
    id uuid PRIMARY KEY,
    first_name text NOT NULL,
    last_name text NOT NULL,
    phone_number text NOT NULL CONSTRAINT members_phone_number_key UNIQUE,
    email text,
    branch_id uuid CONSTRAINT members_branch_id_fkey REFERENCES branches (id),
    tags text[] NOT NULL DEFAULT '{}',
    opted_out_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX members_newest ON members (created_at DESC, id DESC);
CREATE INDEX members_by_branch ON members (branch_id);

CREATE TABLE groups (
    id uuid PRIMARY KEY,
    name text NOT NULL CONSTRAINT groups_name_key UNIQUE,
    description text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE TABLE group_members (
    group_id uuid NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    member_id uuid NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, member_id)
);
CREATE INDEX group_members_by_member ON group_members (member_id);

-- One thread for each pair of a contact and a number of ours.
CREATE TABLE conversations (
    id uuid PRIMARY KEY,
    contact_number text NOT NULL,
    phone_number text NOT NULL,
    member_id uuid REFERENCES members (id) ON DELETE SET NULL,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
    assigned_to uuid REFERENCES staff (id) ON DELETE SET NULL,
    unread_count integer NOT NULL DEFAULT 0 CHECK (unread_count >= 0),
    last_message_at timestamptz NOT NULL,
    last_message_preview text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT conversations_pair UNIQUE (contact_number, phone_number)
);
CREATE INDEX conversations_newest ON conversations (last_message_at DESC, id DESC);
CREATE INDEX conversations_by_member ON conversations (member_id);

CREATE TABLE conversation_messages (
    id uuid PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    direction text NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    subject text,
    body text NOT NULL,
    media jsonb NOT NULL DEFAULT '[]',
    status text NOT NULL,
    segments integer NOT NULL,
    provider_message_id text,
    error text,
    sent_by uuid REFERENCES staff (id) ON DELETE SET NULL,
    occurred_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX conversation_messages_thread ON conversation_messages (conversation_id, occurred_at DESC, id DESC);
CREATE INDEX conversation_messages_by_provider_id ON conversation_messages (provider_message_id);

-- Which events of a provider have been applied. A repeat finds its id here, and changes nothing.
CREATE TABLE inbound_events (
    provider_event_id text PRIMARY KEY,
    event_type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL
);
";

const DOWN: &str = r"
DROP TABLE inbound_events, conversation_messages, conversations, group_members, groups, members, branches,
    refresh_tokens, sessions, staff, roles, tenant_identity;
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
