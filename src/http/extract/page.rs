//! Lists: `?limit=` and `?cursor=` in, `data` and `next_cursor` out.

use axum::Json;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Checked, FieldErrors};
use crate::paging::{Page, PageRequest, Position};

const DEFAULT_LIMIT: u64 = 50;
const MAX_LIMIT: u64 = 200;

/// The page of a list that a client asks for.
#[derive(Deserialize, Default, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Rows at most, 1 to 200; 50 where absent.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 200)]
    pub limit: Option<String>,
    /// `next_cursor` of the previous page.
    pub cursor: Option<String>,
}

impl Checked for ListParameters {
    type Output = PageRequest;

    fn check(self, errors: &mut FieldErrors) -> Option<PageRequest> {
        list_page(errors, self.limit.as_deref(), self.cursor.as_deref())
    }
}

/// Checks the two parameters that every list takes.
pub fn list_page(
    errors: &mut FieldErrors,
    limit: Option<&str>,
    cursor: Option<&str>,
) -> Option<PageRequest> {
    let limit = match limit.map(str::parse) {
        None => Some(DEFAULT_LIMIT),
        Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => Some(limit),
        Some(_) => {
            errors.add("limit", "invalid", "must be a number from 1 to 200");
            None
        }
    };
    let after = match cursor {
        None => Some(None),
        Some(text) => {
            let position = decode(text);
            if position.is_none() {
                errors.add("cursor", "invalid", "is not a cursor of this list");
            }
            position.map(Some)
        }
    };
    Some(PageRequest { limit: limit?, after: after? })
}

fn encode(position: Position) -> String {
    let mut bytes = position.at.timestamp_micros().to_be_bytes().to_vec();
    bytes.extend_from_slice(position.id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<Position> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (micros, id) = bytes.split_at_checked(8)?;
    let at = DateTime::from_timestamp_micros(i64::from_be_bytes(micros.try_into().ok()?))?;
    // PostgreSQL's timestamps end before chrono's. An invented cursor must not become a failed
    // statement.
    let year = chrono::Datelike::year(&at);
    (1970..=9999).contains(&year).then_some(())?;
    Some(Position { at, id: Uuid::from_slice(id).ok()? })
}

/// A page of a list as clients see it.
#[derive(Serialize, ToSchema)]
pub struct PageDocument<T> {
    /// The rows, newest first.
    pub data: Vec<T>,
    /// `cursor` of the next page; `null` at the end of the list.
    pub next_cursor: Option<String>,
}

impl<T> PageDocument<T> {
    /// Converts a page of rows to its document.
    pub fn from_page<R>(page: Page<R>) -> Json<Self>
    where
        T: From<R>,
    {
        Json(Self {
            data: page.rows.into_iter().map(T::from).collect(),
            next_cursor: page.next.map(encode),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_went(micros in 0_i64..4_000_000_000_000_000, id: u128) {
            let position = Position {
                at: DateTime::from_timestamp_micros(micros).unwrap(),
                id: Uuid::from_u128(id),
            };
            prop_assert_eq!(decode(&encode(position)), Some(position));
        }

        #[test]
        fn no_text_makes_the_decoder_fall(text in ".*") {
            let _ = decode(&text);
        }
    }
}
