//! Audit logs: actor, action, time, address and request of each change. The registry has a log for
//! operators, and every tenant's database has one for its staff. The entries of a log form a hash
//! chain: see [`Chain`].

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

/// Number of entries that verification reads at once.
const BATCH: i64 = 1000;

/// Kind of actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum ActorKind {
    /// A member of a tenant's staff.
    Staff,
    /// A service client of a tenant, by its API key.
    ApiKey,
    /// An operator of this installation, through the API.
    Operator,
    /// A person who ran a command on a machine of the installation.
    Command,
}

/// The actor of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Kind of actor.
    pub kind: ActorKind,
    /// Id of the actor; `None` for a command.
    pub id: Option<Uuid>,
    /// Name of the actor at the time of the change.
    pub name: String,
}

impl Actor {
    /// The actor of a command; `name` as in the history of runs.
    pub fn command(name: &str) -> Self {
        Self { kind: ActorKind::Command, id: None, name: name.to_owned() }
    }

    /// The actor's name in the history of runs.
    pub fn label(&self) -> String {
        match self.kind {
            ActorKind::Operator => format!("operator:{}", self.name),
            _ => self.name.clone(),
        }
    }
}

/// The client of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// IP address of the client.
    pub ip: IpAddr,
    /// `User-Agent` of the client, shortened.
    pub user_agent: Option<String>,
    /// Id of the request.
    pub request_id: Option<String>,
}

/// The right by which an operator makes a change through the API. It is checked again in the
/// transaction that writes the audit log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warrant {
    /// The id of the operator.
    pub operator: Uuid,
    /// The id of the operator's session.
    pub session: Uuid,
    /// Name of the lowest role that may make the change. `None` if the change concerns the
    /// operator's own account.
    pub role: Option<String>,
    /// True if the change needs a second factor.
    pub second_factor: bool,
}

/// The actor of a change and the request that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The actor.
    pub actor: Actor,
    /// IP address of the client; `None` for a command.
    pub ip: Option<IpAddr>,
    /// `User-Agent` of the client.
    pub user_agent: Option<String>,
    /// Id of the request.
    pub request_id: Option<String>,
    /// Set for an operator, whose right is checked again because it may have changed since the
    /// request began.
    pub warrant: Option<Warrant>,
}

impl Origin {
    /// The origin of an actor's request.
    pub fn of(actor: Actor, client: Option<&Client>) -> Self {
        Self {
            actor,
            ip: client.map(|client| client.ip),
            user_agent: client.and_then(|client| client.user_agent.clone()),
            request_id: client.and_then(|client| client.request_id.clone()),
            warrant: None,
        }
    }

    /// The same origin without a warrant, for an operator whose right needs no second check.
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

/// An audited action. It contains no secrets, and of a tenant's data only ids and names.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Noun and past participle, such as `member.created`.
    pub action: &'static str,
    /// Kind and id of the changed object.
    pub target: Option<(&'static str, String)>,
    /// Further details, as a JSON object.
    pub detail: serde_json::Value,
}

impl AuditEvent {
    /// An action on an object, without details.
    pub fn on(action: &'static str, kind: &'static str, id: impl std::fmt::Display) -> Self {
        let target = Some((kind, id.to_string()));
        Self { action, target, detail: serde_json::json!({}) }
    }

    /// The same action with details.
    #[must_use]
    pub fn with(self, detail: serde_json::Value) -> Self {
        Self { detail, ..self }
    }
}

/// A stored entry.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Entry {
    /// Number of the entry: 1, 2, 3, without a gap.
    pub sequence: i64,
    /// Id of the entry, for references.
    pub id: Uuid,
    /// Time by the clock of the process.
    pub occurred_at: DateTime<Utc>,
    /// Name of an [`ActorKind`].
    pub actor_kind: String,
    /// Id of the actor.
    pub actor_id: Option<Uuid>,
    /// Name of the actor at that time.
    pub actor_name: String,
    /// The action, such as `member.created`.
    pub action: String,
    /// Kind of the changed object.
    pub target_kind: Option<String>,
    /// Id of the changed object.
    pub target_id: Option<String>,
    /// JSON as text, because the hash covers exactly these bytes.
    pub detail: String,
    /// IP address of the client.
    pub ip: Option<String>,
    /// `User-Agent` of the client.
    pub user_agent: Option<String>,
    /// Id of the request.
    pub request_id: Option<String>,
    /// Hash of this entry and all entries before it. Narthex writes no entry without a hash.
    pub hash: Option<Vec<u8>>,
}

impl Entry {
    /// Unambiguous serialization for the hash: two different entries never have the same bytes.
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

/// The hash chain of one log. The hash of each entry covers all entries before it, under a key that
/// is sealed in the registry. An attacker who can only write the table cannot change or remove an
/// entry unnoticed, except the newest ones; a comparison with an earlier [`Head`] shows that they
/// are missing.
pub struct Chain<'a> {
    /// Name of the log. It is part of the hash, so an entry that is moved to another log does not
    /// verify there.
    pub name: String,
    /// Computes the hashes with the sealed key.
    pub hasher: &'a LookupHasher,
}

/// Serializes appends. The lock is held until the transaction ends.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('narthex.audit_log', 0))";
const LAST: &str =
    "SELECT sequence, hash FROM audit_log WHERE sequence > 0 ORDER BY sequence DESC LIMIT 1";
const INSERT: &str = "
INSERT INTO audit_log (sequence, id, occurred_at, actor_kind, actor_id, actor_name, action, target_kind, target_id,
    detail, ip, user_agent, request_id, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// Appends an entry. Call it at the end of a transaction, because other transactions wait for the
/// lock from here on.
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
        // The precision that PostgreSQL stores, so that the hash can be verified later.
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

/// Filter for entries. A field that is `None` matches all entries.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Id of the actor.
    pub actor_id: Option<Uuid>,
    /// The action, such as `member.created`.
    pub action: Option<String>,
    /// Kind of the changed object.
    pub target_kind: Option<String>,
    /// Id of the changed object.
    pub target_id: Option<String>,
}

const LIST: &str = "
SELECT * FROM audit_log
WHERE sequence > 0 AND hash IS NOT NULL AND ($1::uuid IS NULL OR actor_id = $1) AND ($2::text IS NULL OR action = $2)
  AND ($3::text IS NULL OR target_kind = $3) AND ($4::text IS NULL OR target_id = $4)
  AND ($5::timestamptz IS NULL OR (occurred_at, id) < ($5, $6::uuid))
ORDER BY occurred_at DESC, id DESC LIMIT $7";

/// Lists entries of the chain, newest first. Does not verify them: see [`verify`]. Entries outside
/// the chain are not listed.
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

/// The end of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct Head {
    /// Number of the last entry; 0 if there is none.
    pub sequence: i64,
    /// Hash of the last entry.
    pub hash: Option<Vec<u8>>,
}

/// Evidence of tampering with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Tampering {
    /// The entry is not as it was written, or an entry before it was removed.
    #[error("entry {0} is not what was written, or something before it was removed")]
    Altered(i64),
    /// The entry with this number is missing.
    #[error("entry {0} is missing")]
    Missing(i64),
}

/// Reads the whole log and verifies its chain. `noted`: a head from an earlier verification, which
/// must still be in the chain.
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
