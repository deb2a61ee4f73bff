//! `/v1/members`: the people a church writes to.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod update;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::extract::FieldErrors;
use crate::http::timestamp;
use crate::messaging::members::Member;

const MAX_TAGS: usize = 50;
const MAX_TAG_CHARS: usize = 50;

#[derive(Serialize, ToSchema)]
pub(crate) struct MemberDocument {
    id: Uuid,
    first_name: String,
    last_name: String,
    /// Phone number in E.164.
    phone_number: String,
    email: Option<String>,
    branch_id: Option<Uuid>,
    tags: Vec<String>,
    /// When the member opted out of messages.
    #[serde(serialize_with = "timestamp::write_optional")]
    opted_out_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "timestamp::write")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "timestamp::write")]
    updated_at: DateTime<Utc>,
}

impl From<Member> for MemberDocument {
    fn from(member: Member) -> Self {
        Self {
            id: member.id,
            first_name: member.first_name,
            last_name: member.last_name,
            phone_number: member.phone_number,
            email: member.email,
            branch_id: member.branch_id,
            tags: member.tags,
            opted_out_at: member.opted_out_at,
            created_at: member.created_at,
            updated_at: member.updated_at,
        }
    }
}

/// Checks tags. Repeated tags are removed; the order stays.
fn check_tags(errors: &mut FieldErrors, tags: &[String]) -> Option<Vec<String>> {
    if tags.len() > MAX_TAGS {
        errors.add("tags", "too_long", format!("must be at most {MAX_TAGS}"));
        return None;
    }
    let mut checked: Vec<String> = Vec::with_capacity(tags.len());
    for tag in tags {
        let tag = errors.text("tags", tag, 1..=MAX_TAG_CHARS)?;
        if !checked.contains(&tag) {
            checked.push(tag);
        }
    }
    Some(checked)
}
