//! Entries of audit logs as clients see them, and the filters of their lists: the same for tenants
//! and for operators.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::extract::{Checked, FieldErrors, list_page};
use crate::audit::{Entry, Filter};
use crate::paging::PageRequest;

#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditParameters {
    /// Only entries of this actor.
    #[param(value_type = Option<Uuid>)]
    actor_id: Option<String>,
    /// Only entries of this action, such as `member.created`.
    action: Option<String>,
    /// Only entries about this kind of thing, such as `member`; needs `target_id`.
    target_kind: Option<String>,
    /// Only entries about the thing with this id.
    target_id: Option<String>,
    /// Rows at most, 1 to 200; 50 where absent.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    cursor: Option<String>,
}

impl Checked for AuditParameters {
    type Output = (Filter, PageRequest);

    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output> {
        let actor_id = errors.optional_id("actor_id", self.actor_id.as_deref());
        let mut text = |field: &str, value: Option<String>| match value {
            None => Some(None),
            Some(text) => errors.text(field, &text, 0..=200).map(Some),
        };
        let action = text("action", self.action);
        let target_kind = text("target_kind", self.target_kind);
        let target_id = text("target_id", self.target_id);
        // An index finds entries by id. A kind alone would need a scan of the whole log.
        if matches!((&target_kind, &target_id), (Some(Some(_)), Some(None))) {
            errors.add("target_id", "required", "is required beside `target_kind`");
        }
        let page = list_page(errors, self.limit.as_deref(), self.cursor.as_deref());
        let filter = Filter {
            actor_id: actor_id?,
            action: action?,
            target_kind: target_kind?,
            target_id: target_id?,
        };
        Some((filter, page?))
    }
}

/// The actor of an entry.
#[derive(Serialize, ToSchema)]
pub(super) struct ActorDocument {
    /// `staff`, `api_key`, `operator` or `command`.
    kind: String,
    id: Option<Uuid>,
    /// The actor's name at the time of the entry.
    name: String,
}

/// The thing that was changed.
#[derive(Serialize, ToSchema)]
pub(super) struct TargetDocument {
    kind: String,
    id: String,
}

/// An entry of an audit log.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryDocument {
    id: Uuid,
    /// Numbers without a gap: 1, 2, 3.
    sequence: i64,
    occurred_at: DateTime<Utc>,
    actor: ActorDocument,
    /// What was done: noun and past participle.
    #[schema(example = "member.created")]
    action: String,
    target: Option<TargetDocument>,
    /// More facts about the entry.
    detail: Map<String, Value>,
    ip: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
}

impl From<Entry> for EntryDocument {
    fn from(entry: Entry) -> Self {
        let target = entry.target_kind.zip(entry.target_id);
        Self {
            id: entry.id,
            sequence: entry.sequence,
            occurred_at: entry.occurred_at,
            actor: ActorDocument {
                kind: entry.actor_kind,
                id: entry.actor_id,
                name: entry.actor_name,
            },
            action: entry.action,
            target: target.map(|(kind, id)| TargetDocument { kind, id }),
            detail: serde_json::from_str(&entry.detail).unwrap_or_default(),
            ip: entry.ip,
            user_agent: entry.user_agent,
            request_id: entry.request_id,
        }
    }
}
