//! Audit logs: who has done what, when, from where, in which request. The registry has one for operators, every tenant's
//! database one for its staff. The entries are chained: the hash of each depends, under a key that is sealed in the
//! registry, on all before it, so that whoever can write the table and nothing else cannot change or remove an entry
//! unseen. The newest ones can be cut off: that shows against a head that was noted before.

use std::net::IpAddr;

use chrono::{DateTime, SubsecRound, Utc};
use sea_orm::{
    ActiveEnum, ConnectionTrait, DbBackend, DbErr, DeriveActiveEnum, EnumIter, FromQueryResult,
    Statement, Value,
};
use uuid::Uuid;

use crate::identifiers::new_id;
use crate::paging::{Page, PageRequest, Position};
use crate::sealing::LookupHasher;

/// Entries that are read at once to be verified.
const BATCH: i64 = 1000;

/// Of what sort somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum ActorKind {
    /// A member of a tenant's staff.
    Staff,
    /// A program of a tenant's.
    ApiKey,
    /// An operator of this installation, by the API.
    Operator,
    /// Whoever gave a command on a machine of the installation.
    Command,
}

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Of what sort.
    pub kind: ActorKind,
    /// Their id, where they have one.
    pub id: Option<Uuid>,
    /// Their name, as it is when they do it.
    pub name: String,
}

impl Actor {
    /// Whoever gave a command; `name` as in the history of runs.
    pub fn command(name: &str) -> Self {
        Self { kind: ActorKind::Command, id: None, name: name.to_owned() }
    }

    /// How the history of runs names them.
    pub fn label(&self) -> String {
        match self.kind {
            ActorKind::Operator => format!("operator:{}", self.name),
            _ => self.name.clone(),
        }
    }
}

/// From where somebody calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address.
    pub ip: IpAddr,
    /// What the client calls itself, shortened.
    pub user_agent: Option<String>,
    /// Of the request.
    pub request_id: Option<String>,
}

/// By what an operator may do something, who calls by the API. It is asked again in the transaction that writes the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warrant {
    /// Which operator.
    pub operator: Uuid,
    /// In which session.
    pub session: Uuid,
    /// The least role that may do it, by its name. `None`: it concerns their own account.
    pub role: Option<String>,
    /// Is a second factor needed?
    pub second_factor: bool,
}

/// Who does something, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who.
    pub actor: Actor,
    /// From which address.
    pub ip: Option<IpAddr>,
    /// With what client.
    pub user_agent: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// Of an operator, who may have lost it since the request began.
    pub warrant: Option<Warrant>,
}

impl Origin {
    /// Of somebody who calls.
    pub fn of(actor: Actor, client: Option<&Client>) -> Self {
        Self {
            actor,
            ip: client.map(|client| client.ip),
            user_agent: client.and_then(|client| client.user_agent.clone()),
            request_id: client.and_then(|client| client.request_id.clone()),
            warrant: None,
        }
    }

    /// The same, who has been asked already.
    #[must_use]
    pub fn judged(&self) -> Self {
        Self { warrant: None, ..self.clone() }
    }
}

impl From<Actor> for Origin {
    fn from(actor: Actor) -> Self {
        Self { actor, ip: None, user_agent: None, request_id: None, warrant: None }
    }
}

/// What is done. Holds no secret, and of what a tenant keeps no more than ids and names.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Noun and past participle: `member.created`.
    pub action: &'static str,
    /// Kind and id of what it is done to.
    pub target: Option<(&'static str, String)>,
    /// What else there is to know: an object.
    pub detail: serde_json::Value,
}

impl AuditEvent {
    /// An act on something, of which there is no more to know.
    pub fn on(action: &'static str, kind: &'static str, id: impl std::fmt::Display) -> Self {
        let target = Some((kind, id.to_string()));
        Self { action, target, detail: serde_json::json!({}) }
    }

    /// With more to know.
    #[must_use]
    pub fn with(self, detail: serde_json::Value) -> Self {
        Self { detail, ..self }
    }
}

/// An entry as it is kept.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Entry {
    /// 1, 2, 3, without a gap.
    pub sequence: i64,
    /// For whoever refers to it.
    pub id: Uuid,
    /// By the clock of the process.
    pub occurred_at: DateTime<Utc>,
    /// An [`ActorKind`].
    pub actor_kind: String,
    /// Who.
    pub actor_id: Option<Uuid>,
    /// Their name then.
    pub actor_name: String,
    /// What was done.
    pub action: String,
    /// To what kind of thing.
    pub target_kind: Option<String>,
    /// To which.
    pub target_id: Option<String>,
    /// JSON, as text: its hash is that of these very bytes.
    pub detail: String,
    /// From where.
    pub ip: Option<String>,
    /// With what client.
    pub user_agent: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// Of the chain up to here. Nobody writes an entry without one by way of this program.
    pub hash: Option<Vec<u8>>,
}

impl Entry {
    /// Its bytes, in which no two different entries agree.
    fn bytes(&self) -> Vec<u8> {
        let text = serde_json::json!([
            self.sequence,
            self.id,
            self.occurred_at.timestamp_micros(),
            self.actor_kind,
            self.actor_id,
            self.actor_name,
            self.action,
            self.target_kind,
            self.target_id,
            self.detail,
            self.ip,
            self.user_agent,
            self.request_id,
        ]);
        text.to_string().into_bytes()
    }

    fn link(&self, chain: &Chain<'_>, previous: &[u8]) -> Vec<u8> {
        chain.hasher.audit(&chain.name, previous, &self.bytes())
    }
}

/// The chain of one log.
pub struct Chain<'a> {
    /// Whose: an entry that is moved to another log does not fit there.
    pub name: String,
    /// Has the key.
    pub hasher: &'a LookupHasher,
}

/// Appends must come one after the other. The lock is held until the transaction ends.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('narthex.audit_log', 0))";
const LAST: &str =
    "SELECT sequence, hash FROM audit_log WHERE sequence > 0 ORDER BY sequence DESC LIMIT 1";
const INSERT: &str = "
INSERT INTO audit_log (sequence, id, occurred_at, actor_kind, actor_id, actor_name, action, target_kind, target_id,
    detail, ip, user_agent, request_id, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// Writes an entry. Belongs at the end of the transaction that does it: others wait from here on.
pub async fn append(
    transaction: &impl ConnectionTrait,
    chain: &Chain<'_>,
    origin: &Origin,
    event: AuditEvent,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    transaction.execute_raw(Statement::from_string(DbBackend::Postgres, LOCK)).await?;
    let last = Head::find_by_statement(Statement::from_string(DbBackend::Postgres, LAST));
    let last = last.one(transaction).await?.unwrap_or_default();
    let (target_kind, target_id) = event.target.unzip();
    let mut entry = Entry {
        sequence: last.sequence + 1,
        id: new_id(),
        // As much of it as the database keeps.
        occurred_at: now.trunc_subsecs(6),
        actor_kind: origin.actor.kind.to_value(),
        actor_id: origin.actor.id,
        actor_name: origin.actor.name.clone(),
        action: event.action.to_owned(),
        target_kind: target_kind.map(str::to_owned),
        target_id,
        detail: event.detail.to_string(),
        ip: origin.ip.map(|ip| ip.to_string()),
        user_agent: origin.user_agent.clone(),
        request_id: origin.request_id.clone(),
        hash: None,
    };
    entry.hash = Some(entry.link(chain, &last.hash.unwrap_or_default()));
    let values: [Value; 14] = [
        entry.sequence.into(),
        entry.id.into(),
        entry.occurred_at.into(),
        entry.actor_kind.into(),
        entry.actor_id.into(),
        entry.actor_name.into(),
        entry.action.into(),
        entry.target_kind.into(),
        entry.target_id.into(),
        entry.detail.into(),
        entry.ip.into(),
        entry.user_agent.into(),
        entry.request_id.into(),
        entry.hash.into(),
    ];
    let insert = Statement::from_sql_and_values(DbBackend::Postgres, INSERT, values);
    transaction.execute_raw(insert).await?;
    Ok(())
}

/// Which entries are asked for; absent: of every kind.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of whom.
    pub actor_id: Option<Uuid>,
    /// What was done.
    pub action: Option<String>,
    /// Kind of what it was done to.
    pub target_kind: Option<String>,
    /// Id of what it was done to.
    pub target_id: Option<String>,
}

const LIST: &str = "
SELECT * FROM audit_log
WHERE sequence > 0 AND hash IS NOT NULL AND ($1::uuid IS NULL OR actor_id = $1) AND ($2::text IS NULL OR action = $2)
  AND ($3::text IS NULL OR target_kind = $3) AND ($4::text IS NULL OR target_id = $4)
  AND ($5::timestamptz IS NULL OR (occurred_at, id) < ($5, $6::uuid))
ORDER BY occurred_at DESC, id DESC LIMIT $7";

/// Entries of the chain, the newest first. Whether they are genuine, [`verify`] says; what stands outside the chain is not shown.
pub async fn list(
    db: &impl ConnectionTrait,
    filter: Filter,
    page: PageRequest,
) -> Result<Page<Entry>, DbErr> {
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX - 1) + 1;
    let values: [Value; 7] = [
        filter.actor_id.into(),
        filter.action.into(),
        filter.target_kind.into(),
        filter.target_id.into(),
        page.after.map(|after| after.at).into(),
        page.after.map(|after| after.id).into(),
        limit.into(),
    ];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, LIST, values);
    let rows = Entry::find_by_statement(statement).all(db).await?;
    Ok(Page::cut(rows, page.limit, |row| Position { at: row.occurred_at, id: row.id }))
}

/// Where a chain ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct Head {
    /// Number of the last entry; 0: there is none.
    pub sequence: i64,
    /// Its hash.
    pub hash: Option<Vec<u8>>,
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Tampering {
    /// An entry is not what was written, or not in its place.
    #[error("entry {0} is not what was written, or something before it was removed")]
    Altered(i64),
    /// Entries are missing.
    #[error("entry {0} is missing")]
    Missing(i64),
}

/// Reads the whole log and follows its chain. `noted`: where it was seen to end before; that must still be in it.
pub async fn verify(
    db: &impl ConnectionTrait,
    chain: &Chain<'_>,
    noted: &Head,
) -> Result<Result<Head, Tampering>, DbErr> {
    const SQL: &str = "SELECT * FROM audit_log WHERE sequence > $1 ORDER BY sequence LIMIT $2";
    const OUTSIDE: &str =
        "SELECT sequence, hash FROM audit_log WHERE sequence <= 0 ORDER BY sequence LIMIT 1";
    let outside = Statement::from_string(DbBackend::Postgres, OUTSIDE);
    if let Some(outside) = Head::find_by_statement(outside).one(db).await? {
        return Ok(Err(Tampering::Altered(outside.sequence)));
    }
    let mut head = Head::default();
    loop {
        let values: [Value; 2] = [head.sequence.into(), BATCH.into()];
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, SQL, values);
        let rows = Entry::find_by_statement(statement).all(db).await?;
        if rows.is_empty() {
            let is_short = head.sequence < noted.sequence;
            return Ok(if is_short {
                Err(Tampering::Missing(head.sequence + 1))
            } else {
                Ok(head)
            });
        }
        for entry in rows {
            if entry.sequence != head.sequence + 1 {
                return Ok(Err(Tampering::Missing(head.sequence + 1)));
            }
            let expected = Some(entry.link(chain, head.hash.as_deref().unwrap_or_default()));
            let is_noted = entry.sequence == noted.sequence;
            if entry.hash != expected || (is_noted && entry.hash != noted.hash) {
                return Ok(Err(Tampering::Altered(entry.sequence)));
            }
            head = Head { sequence: entry.sequence, hash: entry.hash };
        }
    }
}
