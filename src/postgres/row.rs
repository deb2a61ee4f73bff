//! A row whose columns are read by position, as the driver decodes them. This avoids name look-ups,
//! and an error that would be made and dropped for each NULL.

use sea_orm::{DbErr, RuntimeErr};
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _};

/// A row of a query's result.
pub struct Row(pub(super) PgRow);

impl Row {
    /// The column at this position, the first being 0. The column must have the type that the
    /// statement asks for. Fails if it cannot be decoded, or if it is NULL and the type has no
    /// NULL.
    pub fn get<'r, T: Decode<'r, Postgres>>(&'r self, place: usize) -> Result<T, DbErr> {
        let value = self.0.try_get_unchecked(place);
        value.map_err(|error| DbErr::Query(RuntimeErr::SqlxError(error.into())))
    }
}
