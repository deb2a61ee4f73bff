//! A number that changes hands ends the conversation, and a group message names its other recipients.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &str = r"
-- Set when the contact's number passes to somebody else: then another conversation with the number can begin. Of those
-- that have not ended there is one for each pair, as before, and under the constraint's old name: earlier versions of
-- the program, which know no end, go on with it.
ALTER TABLE conversations ADD COLUMN ended_at timestamptz;
ALTER TABLE conversations DROP CONSTRAINT conversations_pair;
ALTER TABLE conversations ADD CONSTRAINT conversations_pair
    UNIQUE NULLS NOT DISTINCT (contact_number, phone_number, ended_at);

-- Of a group message: to whom else it was sent.
ALTER TABLE conversation_messages ADD COLUMN recipients text[] NOT NULL DEFAULT '{}';

-- The number of these has passed on already, and nobody knows when: what was written since may be another's.
UPDATE conversations SET member_id = NULL, ended_at = now() FROM members
WHERE members.id = member_id AND members.phone_number <> contact_number;
";

const DOWN: &str = r"
-- One conversation for each pair again: the one that has not ended, or ended last, takes the messages of the others.
UPDATE conversation_messages SET conversation_id = kept.id
FROM conversations ended JOIN (
    SELECT DISTINCT ON (contact_number, phone_number) id, contact_number, phone_number
    FROM conversations ORDER BY contact_number, phone_number, ended_at DESC NULLS FIRST
) kept USING (contact_number, phone_number)
WHERE conversation_id = ended.id AND ended.id <> kept.id;
DELETE FROM conversations ended USING conversations later
WHERE later.contact_number = ended.contact_number AND later.phone_number = ended.phone_number
    AND (later.ended_at > ended.ended_at OR later.ended_at IS NULL AND ended.ended_at IS NOT NULL);
ALTER TABLE conversations DROP CONSTRAINT conversations_pair;
ALTER TABLE conversations DROP COLUMN ended_at;
ALTER TABLE conversations ADD CONSTRAINT conversations_pair UNIQUE (contact_number, phone_number);
ALTER TABLE conversation_messages DROP COLUMN recipients;
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
