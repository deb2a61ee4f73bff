//! `/v1/admin/audit-log`: who has done what.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::Gateway;
use crate::http::extract::operator_permission::AuditRead;
use crate::http::extract::{Checked, Faults, Operator, PageDocument, Parameters, list_page};
use crate::http::openapi::AdminProblems;
use crate::http::problem::Problem;
use crate::paging::PageRequest;
use crate::registry::audit_log::{self, Entry, Filter};

#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAudited {
    #[param(value_type = Option<Uuid>)]
    actor_id: Option<String>,
    /// Such as `tenant.suspended`; `request` stands for every call.
    action: Option<String>,
    /// Such as `tenant`.
    target_kind: Option<String>,
    target_id: Option<String>,
    /// Rows at most, 1 to 200; 50 where absent.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the part before.
    cursor: Option<String>,
}

impl Checked for ListAudited {
    type Output = (Filter, PageRequest);

    fn check(self, faults: &mut Faults) -> Option<Self::Output> {
        let actor_id = faults.optional_id("actor_id", self.actor_id.as_deref());
        let mut text = |field: &str, value: Option<String>| match value {
            None => Some(None),
            Some(value) => faults
                .text(field, &value, 0..=200)
                .map(|text| Some(text).filter(|text| !text.is_empty())),
        };
        let action = text("action", self.action);
        let target_kind = text("target_kind", self.target_kind);
        let target_id = text("target_id", self.target_id);
        let page = list_page(faults, self.limit.as_deref(), self.cursor.as_deref());
        let filter = Filter {
            actor_id: actor_id?,
            action: action?,
            target_kind: target_kind?,
            target_id: target_id?,
        };
        Some((filter, page?))
    }
}

/// Something that somebody has done.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditEntryDocument {
    id: Uuid,
    /// 1, 2, 3, without a gap.
    sequence: i64,
    occurred_at: DateTime<Utc>,
    actor: AuditActorDocument,
    action: String,
    target: Option<AuditTargetDocument>,
    #[schema(value_type = Object)]
    detail: serde_json::Value,
    ip: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct AuditActorDocument {
    /// `staff`, `api_key`, `operator`, `command` or `provider`.
    kind: String,
    id: Option<Uuid>,
    name: String,
}

#[derive(Serialize, ToSchema)]
struct AuditTargetDocument {
    kind: String,
    id: String,
}

impl From<Entry> for AuditEntryDocument {
    fn from(entry: Entry) -> Self {
        let target = entry.target_kind.zip(entry.target_id);
        Self {
            id: entry.id,
            sequence: entry.sequence,
            occurred_at: entry.occurred_at,
            actor: AuditActorDocument {
                kind: entry.actor_kind,
                id: entry.actor_id,
                name: entry.actor_name,
            },
            action: entry.action,
            target: target.map(|(kind, id)| AuditTargetDocument { kind, id }),
            detail: serde_json::from_str(&entry.detail).unwrap_or_default(),
            ip: entry.ip,
            user_agent: entry.user_agent,
            request_id: entry.request_id,
        }
    }
}

/// What operators have done, by the API and by command, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/audit-log",
    tag = "Operators: audit log",
    params(ListAudited),
    responses((status = 200, description = "A part of the list.", body = PageDocument<AuditEntryDocument>), AdminProblems),
    security(("operator" = [])),
)]
pub(crate) async fn list_audit_log(
    State(gateway): State<Gateway>,
    _: Operator<AuditRead>,
    Parameters((filter, page)): Parameters<ListAudited>,
) -> Result<Json<PageDocument<AuditEntryDocument>>, Problem> {
    let db = gateway.registry.connect().await?;
    Ok(PageDocument::from_page(audit_log::list(&db, filter, page).await?))
}
