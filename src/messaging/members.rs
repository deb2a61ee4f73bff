//! Members: the people whom a church writes to. A phone number belongs to one member at most.

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

/// Why a member could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// No member has this id.
    #[error("there is no such member")]
    NotFound,
    /// Another member of the tenant has this phone number.
    #[error("another member has this phone number")]
    PhoneNumberTaken,
    /// No branch has the given id.
    #[error("there is no such branch")]
    UnknownBranch,
    /// A statement or the connection to the tenant's database failed.
    #[error(transparent)]
    Database(#[from] DbErr),
}

fn refused(error: DbErr) -> MemberError {
    if failure::violated_unique_constraint(&error) == Some("members_phone_number_key") {
        return MemberError::PhoneNumberTaken;
    }
    match failure::sqlstate(&error).as_deref() {
        // 23503: the table's only foreign key is the branch.
        Some("23503") => MemberError::UnknownBranch,
        _ => error.into(),
    }
}

/// Conditions of a list of members; `None` is no condition.
#[derive(Clone, Debug, Default)]
pub struct MemberFilter {
    /// A part of the first name, last name or email address, in any case; or of the phone number,
    /// with any punctuation.
    pub text: Option<String>,
    /// The branch of the members.
    pub branch_id: Option<Uuid>,
    /// A group of the members.
    pub group_id: Option<Uuid>,
    /// True for members who opted out of messages, false for the others.
    pub opted_out: Option<bool>,
}

/// The values of a new member.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// Given name, not empty.
    pub first_name: String,
    /// Family name; may be empty.
    pub last_name: String,
    /// Phone number, unique among the tenant's members.
    pub phone_number: PhoneNumber,
    /// Email address, if the member has one.
    pub email: Option<EmailAddress>,
    /// Branch of the member, if there is one.
    pub branch_id: Option<Uuid>,
    /// Tags: words that the tenant chooses.
    pub tags: Vec<String>,
}

/// A member's new values. `None` keeps the old value, `Some(None)` clears it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemberChanges {
    /// Given name, not empty.
    pub first_name: Option<String>,
    /// Family name; an empty text clears it.
    pub last_name: Option<String>,
    /// Phone number, unique among the tenant's members.
    pub phone_number: Option<PhoneNumber>,
    /// Email address, if the member has one.
    pub email: Option<Option<EmailAddress>>,
    /// Branch of the member.
    pub branch_id: Option<Option<Uuid>>,
    /// Tags; they replace all old ones.
    pub tags: Option<Vec<String>>,
}

impl MemberChanges {
    /// True if no value is to be changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One page of the members that meet the filter, newest first.
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

/// Escapes the characters that have a meaning in LIKE. The backslash is PostgreSQL's escape
/// character if a statement names none.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Adds a member, in a transaction: earlier messages from the number become a conversation with the
/// member.
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

/// The columns in the order of [`by_place`].
const FIND: &str = "SELECT id, first_name, last_name, phone_number, email, branch_id, tags, opted_out_at, \
                    created_at, updated_at FROM members WHERE id = $1";

/// The member with this id, or `NotFound`.
pub async fn find(db: &impl OnTenant, id: Uuid) -> Result<Member, MemberError> {
    let row = db.first_row(FIND, vec![id.into()]).await?.ok_or(MemberError::NotFound)?;
    Ok(by_place(&row)?)
}

/// Reads the columns by position, because this is the most frequent read of all. The search by name
/// took a tenth of the work.
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

/// Changes the given values, in a transaction. Conversations with a number that the member gives up
/// end.
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

/// Removes a member, in a transaction. Conversations with the member, and from the member's number,
/// end and stay.
pub async fn delete(db: &impl OnTenant, id: Uuid, now: DateTime<Utc>) -> Result<(), MemberError> {
    let member = lock(db, id).await?;
    conversations::leave_number(db, id, &member.phone_number, now).await?;
    Entity::delete_by_id(id).exec(db).await?;
    Ok(())
}

/// Locks a member until the transaction ends, so that no message can join a conversation with the
/// member meanwhile.
async fn lock(db: &impl OnTenant, id: Uuid) -> Result<Member, MemberError> {
    let locked = Entity::find_by_id(id).lock_exclusive().one(db).await?;
    locked.ok_or(MemberError::NotFound)
}
