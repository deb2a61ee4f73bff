//! A row whose columns are read by their place, as the driver decodes them: without looking for names, and without an error
//! that is made and thrown away for each NULL.

use sea_orm::{DbErr, RuntimeErr};
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _};

/// A row of an answer.
pub struct Row(pub(super) PgRow);

impl Row {
    /// The column at this place, the first being 0. Its type is believed to be the one that the statement asks for: what cannot
    /// be decoded is an error, as is a NULL for a type that has none.
    pub fn get<'r, T: Decode<'r, Postgres>>(&'r self, place: usize) -> Result<T, DbErr> {
        let value = self.0.try_get_unchecked(place);
        value.map_err(|error| DbErr::Query(RuntimeErr::SqlxError(error.into())))
    }
}
