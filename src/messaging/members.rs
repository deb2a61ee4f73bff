//! Members: the people a church writes to. One member for each phone number.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::extension::postgres::PgExpr;
use sea_orm::sea_query::{Condition, Expr, LikeExpr, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use super::conversations;
use super::entities::group_members;
pub use super::entities::members::Model as Member;
use super::entities::members::{ActiveModel, Column, Entity};
use crate::identifiers::{EmailAddress, PhoneNumber, new_id, searched_digits};
use crate::paging::{Page, PageRequest, Position, newest_first};
use crate::postgres::{Row, failure};
use crate::tenant_router::OnTenant;

/// Why a member could not be written.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// There is no such member.
    #[error("there is no such member")]
    NotFound,
    /// Another member has the phone number.
    #[error("another member has this phone number")]
    PhoneNumberTaken,
    /// There is no such branch.
    #[error("there is no such branch")]
    UnknownBranch,
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] DbErr),
}

fn refused(error: DbErr) -> MemberError {
    if failure::violated_unique_constraint(&error) == Some("members_phone_number_key") {
        return MemberError::PhoneNumberTaken;
    }
    match failure::sqlstate(&error).as_deref() {
        // 23503: the one foreign key of the table is the branch.
        Some("23503") => MemberError::UnknownBranch,
        _ => error.into(),
    }
}

/// Which members a list holds; what is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct MemberFilter {
    /// A part of the first or last name or the email, in any case, or of the phone number, with any punctuation.
    pub text: Option<String>,
    /// Members of this branch.
    pub branch_id: Option<Uuid>,
    /// Members of this group.
    pub group_id: Option<Uuid>,
    /// Members who have, or have not, opted out of messages.
    pub opted_out: Option<bool>,
}

/// Everything that makes a new member.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// Given name.
    pub first_name: String,
    /// Family name; may be empty.
    pub last_name: String,
    /// Unique among the tenant's members.
    pub phone_number: PhoneNumber,
    /// Where they also read.
    pub email: Option<EmailAddress>,
    /// Where they belong.
    pub branch_id: Option<Uuid>,
    /// Free words.
    pub tags: Vec<String>,
}

/// What can be set on a member; `Some(None)` clears.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemberChanges {
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Unique among the tenant's members.
    pub phone_number: Option<PhoneNumber>,
    /// Where they also read.
    pub email: Option<Option<EmailAddress>>,
    /// Where they belong.
    pub branch_id: Option<Option<Uuid>>,
    /// Free words; replaces all of them.
    pub tags: Option<Vec<String>>,
}

impl MemberChanges {
    /// Is nothing to be set?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Members, newest first.
pub async fn list(
    db: &impl OnTenant,
    filter: MemberFilter,
    page: PageRequest,
) -> Result<Page<Member>, DbErr> {
    let mut query = Entity::find();
    if let Some(text) = filter.text.filter(|text| !text.is_empty()) {
        let pattern = format!("%{}%", escaped(&text));
        let like = |column: Column| Expr::col(column).ilike(LikeExpr::new(pattern.clone()));
        let digits = searched_digits(&text).map(|digits| Column::PhoneNumber.contains(digits));
        query = query.filter(
            Condition::any()
                .add(like(Column::FirstName))
                .add(like(Column::LastName))
                .add(like(Column::PhoneNumber))
                .add(like(Column::Email))
                .add_option(digits),
        );
    }
    if let Some(branch) = filter.branch_id {
        query = query.filter(Column::BranchId.eq(branch));
    }
    if let Some(group) = filter.group_id {
        let members = Query::select()
            .column(group_members::Column::MemberId)
            .from(group_members::Entity)
            .and_where(group_members::Column::GroupId.eq(group))
            .to_owned();
        query = query.filter(Column::Id.in_subquery(members));
    }
    query = match filter.opted_out {
        Some(true) => query.filter(Column::OptedOutAt.is_not_null()),
        Some(false) => query.filter(Column::OptedOutAt.is_null()),
        None => query,
    };
    let position = |row: &Member| Position { at: row.created_at, id: row.id };
    newest_first(db, query, page, position).await
}

/// The characters that mean something to LIKE stand for themselves. The backslash is PostgreSQL's escape character
/// where a statement names none.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Adds a member, in a transaction: what was written from the number so far becomes a conversation with them.
pub async fn create(
    db: &impl OnTenant,
    new: NewMember,
    now: DateTime<Utc>,
) -> Result<Member, MemberError> {
    let row = ActiveModel {
        id: Set(new_id()),
        first_name: Set(new.first_name),
        last_name: Set(new.last_name),
        phone_number: Set(new.phone_number.as_str().to_owned()),
        email: Set(new.email.map(|email| email.as_str().to_owned())),
        branch_id: Set(new.branch_id),
        tags: Set(new.tags),
        opted_out_at: Set(None),
        created_at: Set(now),
        updated_at: Set(now),
    };
    conversations::hold_number(db, new.phone_number.as_str()).await?;
    let member = Entity::insert(row).exec_with_returning(db).await.map_err(refused)?;
    conversations::take_number(db, member.id, &member.phone_number, now).await?;
    Ok(member)
}

/// The columns in the order in which [`by_place`] reads them.
const FIND: &str = "SELECT id, first_name, last_name, phone_number, email, branch_id, tags, opted_out_at, \
                    created_at, updated_at FROM members WHERE id = $1";

/// One member.
pub async fn find(db: &impl OnTenant, id: Uuid) -> Result<Member, MemberError> {
    let row = db.first_row(FIND, vec![id.into()]).await?.ok_or(MemberError::NotFound)?;
    Ok(by_place(&row)?)
}

/// The most frequent read of all looks up no column by its name: that took a tenth of the work on it.
fn by_place(row: &Row) -> Result<Member, DbErr> {
    Ok(Member {
        id: row.get(0)?,
        first_name: row.get(1)?,
        last_name: row.get(2)?,
        phone_number: row.get(3)?,
        email: row.get(4)?,
        branch_id: row.get(5)?,
        tags: row.get(6)?,
        opted_out_at: row.get(7)?,
        created_at: row.get(8)?,
        updated_at: row.get(9)?,
    })
}

/// Changes what is given, in a transaction. Conversations from a number that is theirs no more end.
pub async fn update(
    db: &impl OnTenant,
    id: Uuid,
    changes: MemberChanges,
    now: DateTime<Utc>,
) -> Result<Member, MemberError> {
    if changes.is_empty() {
        return find(db, id).await;
    }
    let mut row = ActiveModel { updated_at: Set(now), ..Default::default() };
    if let Some(first_name) = changes.first_name {
        row.first_name = Set(first_name);
    }
    if let Some(last_name) = changes.last_name {
        row.last_name = Set(last_name);
    }
    let mut before = None;
    if let Some(number) = changes.phone_number {
        conversations::hold_number(db, number.as_str()).await?;
        before = Some(lock(db, id).await?);
        row.phone_number = Set(number.as_str().to_owned());
    }
    if let Some(email) = changes.email {
        row.email = Set(email.map(|email| email.as_str().to_owned()));
    }
    if let Some(branch) = changes.branch_id {
        row.branch_id = Set(branch);
    }
    if let Some(tags) = changes.tags {
        row.tags = Set(tags);
    }
    let updated = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id))
        .exec_with_returning(db)
        .await
        .map_err(refused)?;
    let member = updated.into_iter().next().ok_or(MemberError::NotFound)?;
    if let Some(before) = before {
        if before.phone_number != member.phone_number {
            conversations::leave_number(db, id, &before.phone_number, now).await?;
        }
        conversations::take_number(db, id, &member.phone_number, now).await?;
    }
    Ok(member)
}

/// Removes a member, in a transaction. Conversations with them, and from their number, end and stay.
pub async fn delete(db: &impl OnTenant, id: Uuid, now: DateTime<Utc>) -> Result<(), MemberError> {
    let member = lock(db, id).await?;
    conversations::leave_number(db, id, &member.phone_number, now).await?;
    Entity::delete_by_id(id).exec(db).await?;
    Ok(())
}

/// From here on no message can arrive that is still a conversation with the member, until the transaction ends.
async fn lock(db: &impl OnTenant, id: Uuid) -> Result<Member, MemberError> {
    let locked = Entity::find_by_id(id).lock_exclusive().one(db).await?;
    locked.ok_or(MemberError::NotFound)
}
