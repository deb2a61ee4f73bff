//! Parts of lists: where one begins, and where the next one goes on.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

/// Where a list goes on: after the row with this time and id, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The row's place in time.
    pub at: DateTime<Utc>,
    /// Decides between rows of one time.
    pub id: Uuid,
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// Rows at most.
    pub limit: u64,
    /// Begin behind this row; at the newest where absent.
    pub after: Option<Position>,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows, newest first.
    pub rows: Vec<T>,
    /// Where the next part begins; `None` at the end.
    pub next: Option<Position>,
}

impl<T> Page<T> {
    /// The same part, of other things.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { rows: self.rows.into_iter().map(change).collect(), next: self.next }
    }

    /// A part of a list that is short enough to be read whole.
    pub fn of_all(mut rows: Vec<T>, page: PageRequest, position: impl Fn(&T) -> Position) -> Self {
        let place = |row: &T| {
            let Position { at, id } = position(row);
            (at, id)
        };
        rows.sort_by_key(|row| Reverse(place(row)));
        if let Some(after) = page.after {
            rows.retain(|row| place(row) < (after.at, after.id));
        }
        Self::cut(rows, page.limit, position)
    }

    /// Made from one row more than was asked for: the surplus row tells whether there is a next part.
    pub fn cut(mut rows: Vec<T>, limit: u64, position: impl Fn(&T) -> Position) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(position);
        Self { rows, next }
    }
}

/// A position as the two values of a row comparison.
pub fn keyset(position: Position) -> [sea_orm::Value; 2] {
    [position.at.into(), position.id.into()]
}

/// A part of a query, by its columns `created_at` and `id`, the newest first.
pub async fn newest_first<E: EntityTrait>(
    db: &impl ConnectionTrait,
    mut query: Select<E>,
    page: PageRequest,
    position: impl Fn(&E::Model) -> Position,
) -> Result<Page<E::Model>, DbErr> {
    if let Some(after) = page.after {
        query = query.filter(Expr::cust_with_values("(created_at, id) < ($1, $2)", keyset(after)));
    }
    let rows = query
        .order_by(Expr::cust("created_at"), Order::Desc)
        .order_by(Expr::cust("id"), Order::Desc)
        .limit(page.limit.saturating_add(1))
        .all(db)
        .await?;
    Ok(Page::cut(rows, page.limit, position))
}
