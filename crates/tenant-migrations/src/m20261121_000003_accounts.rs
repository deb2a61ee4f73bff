//! What staff need to keep their accounts safe: from where each session is used, and
//! letters that prove something.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- The last client of a session: its address, and what it calls itself.
ALTER TABLE sessions ADD COLUMN ip text, ADD COLUMN user_agent text;
-- What is over is found by this, and removed.
CREATE INDEX sessions_by_end ON sessions (LEAST(expires_at, revoked_at));

-- When somebody has proven that letters to their address arrive. Identity providers have had it proven to them.
ALTER TABLE staff ADD COLUMN email_verified_at timestamptz, ADD COLUMN password_set_at timestamptz;
UPDATE staff SET email_verified_at = now() WHERE id IN (SELECT staff_id FROM external_identities);

-- What was sent to an address and is good once, by its SHA-256.
CREATE TABLE one_time_tokens (
    token_hash bytea PRIMARY KEY,
    purpose text NOT NULL CHECK (purpose IN ('password_reset', 'email_verification')),
    staff_id uuid NOT NULL REFERENCES staff (id) ON DELETE CASCADE,
    email text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX one_time_tokens_by_staff ON one_time_tokens (staff_id);
";

const DOWN: &str = r"
DROP TABLE one_time_tokens;
ALTER TABLE staff DROP COLUMN password_set_at, DROP COLUMN email_verified_at;
DROP INDEX sessions_by_end;
ALTER TABLE sessions DROP COLUMN user_agent, DROP COLUMN ip;
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
