//! The first product: churches and the people they write to. Every function takes a connection to one tenant's
//! database and knows nothing of other tenants, of routing or of HTTP.

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub mod branches;
pub mod conversations;
pub mod delivery;
pub mod entities;
pub mod inbound;
pub mod members;

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
    /// Made from one row more than was asked for: the surplus row tells whether there is a next part.
    fn cut(mut rows: Vec<T>, limit: u64, position: impl Fn(&T) -> Position) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(position);
        Self { rows, next }
    }
}

/// A position as the two values of a row comparison.
fn keyset(position: Position) -> [sea_orm::Value; 2] {
    [position.at.into(), position.id.into()]
}
