//! Pages of lists, with keyset pagination.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

/// Position in a list: after the row with this time and id, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Creation time of the row.
    pub at: DateTime<Utc>,
    /// Id of the row; it orders rows with equal times.
    pub id: Uuid,
}

/// A request for a page.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// Maximum number of rows.
    pub limit: u64,
    /// Start after this row; `None` starts at the newest row.
    pub after: Option<Position>,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows, newest first.
    pub rows: Vec<T>,
    /// Position of the next page; `None` on the last page.
    pub next: Option<Position>,
}

impl<T> Page<T> {
    /// The same page with converted rows.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { rows: self.rows.into_iter().map(change).collect(), next: self.next }
    }

    /// Cuts a page out of a list that was read completely.
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

    /// Makes a page from up to `limit + 1` rows. The extra row shows that there is a next page.
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

/// Reads a page of a query, ordered by the columns `created_at` and `id`, newest first.
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
