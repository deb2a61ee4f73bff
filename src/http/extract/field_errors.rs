//! All field errors of an input, found in one pass.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use sea_orm::{ActiveEnum, Iterable};
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::http::problem::{FieldError, Problem};
use crate::identifiers::word;
use crate::plain_text::{fault_of_name, is_control};

/// More errors than a person reads. After them the rest of an input is not checked.
const MAX_FAULTS: usize = 50;

/// An input as it is written on the wire, and its checked form. Absent fields take the default, so
/// that a missing field does not hide the errors of the others.
pub trait Checked: DeserializeOwned + Default {
    /// The input with its values parsed.
    type Output;

    /// True if the whole body may be absent.
    const MAY_BE_ABSENT: bool = false;

    /// Parses every value and records the errors. `None` if there is an error.
    fn check(self, errors: &mut FieldErrors) -> Option<Self::Output>;
}

/// The field errors found so far.
#[derive(Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Records an error; only the first of each field.
    pub fn add(&mut self, field: &str, code: &'static str, message: impl Display) {
        if self.0.len() < MAX_FAULTS && !self.0.iter().any(|fault| fault.field == field) {
            self.0.push(FieldError { field: field.to_owned(), code, message: message.to_string() });
        }
    }

    fn is_full(&self) -> bool {
        self.0.len() >= MAX_FAULTS
    }

    /// A text on one line, without surrounding white space, with a number of characters in
    /// `length`.
    pub fn text(
        &mut self,
        field: &str,
        value: &str,
        length: RangeInclusive<usize>,
    ) -> Option<String> {
        let text = value.trim();
        let count = text.chars().count();
        if count == 0 && *length.start() > 0 {
            self.add(field, "required", "is required");
        } else if count < *length.start() {
            self.add(
                field,
                "too_short",
                format!("must have at least {} characters", length.start()),
            );
        } else if count > *length.end() {
            self.add(field, "too_long", format!("must have at most {} characters", length.end()));
        } else if text.chars().any(is_control) {
            self.add(field, "invalid", "must not contain control characters or line breaks");
        } else {
            return Some(text.to_owned());
        }
        None
    }

    /// As [`FieldErrors::text`], for a name by which people tell things apart: every character in
    /// it must be visible.
    pub fn name(
        &mut self,
        field: &str,
        value: &str,
        length: RangeInclusive<usize>,
    ) -> Option<String> {
        let name = self.text(field, value, length)?;
        if let Some(fault) = fault_of_name(&name) {
            self.add(field, "invalid", fault);
            return None;
        }
        Some(name)
    }

    /// A value that must be present and parse as a `T`.
    pub fn required<T>(&mut self, field: &str, value: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        if value.trim().is_empty() {
            self.add(field, "required", "is required");
            return None;
        }
        self.optional(field, Some(value)).flatten()
    }

    /// A value that may be absent. `Some(None)`: it is absent or an empty text.
    pub fn optional<T>(&mut self, field: &str, value: Option<&str>) -> Option<Option<T>>
    where
        T: FromStr<Err: Display>,
    {
        match value.map(str::trim) {
            None | Some("") => Some(None),
            Some(text) => match text.parse() {
                Ok(value) => Some(Some(value)),
                Err(error) => {
                    self.add(field, "invalid", error);
                    None
                }
            },
        }
    }

    /// As [`FieldErrors::optional`], for one of the words that the registry uses for `E`.
    pub fn optional_word<E>(&mut self, field: &str, value: Option<&str>) -> Option<Option<E>>
    where
        E: ActiveEnum<Value = String> + Iterable,
    {
        match value.map(str::trim) {
            None | Some("") => Some(None),
            Some(text) => match word(text) {
                Ok(member) => Some(Some(member)),
                Err(error) => {
                    self.add(field, "invalid", error);
                    None
                }
            },
        }
    }

    /// An id that may be absent. `Some(None)`: it is absent. An empty text is an error.
    pub fn optional_id(&mut self, field: &str, value: Option<&str>) -> Option<Option<Uuid>> {
        match value {
            None => Some(None),
            Some(text) => match text.trim().parse() {
                Ok(id) => Some(Some(id)),
                Err(_) => {
                    self.add(field, "invalid", "is not an id");
                    None
                }
            },
        }
    }

    /// The value, or one problem with all field errors.
    pub fn into_result<T>(self, value: Option<T>) -> Result<T, Problem> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Problem::validation(self.0)),
        }
    }
}

/// Reads and checks an object. Unknown fields, wrong types and wrong values are all reported
/// together, after the errors that were found before.
pub(super) fn check<T: Checked>(
    object: Map<String, Value>,
    mut errors: FieldErrors,
) -> Result<T::Output, Problem> {
    for (name, value) in &object {
        if name.contains('\0') || holds_nul(value) {
            errors.add(name, "nul_character", "must not contain NUL characters");
        }
    }
    // All unknown fields go at once, so that the object is read again at most once for each known
    // field.
    let mut object = object;
    if let Some(fields) = field_names::<T>() {
        object.retain(|name, _| {
            let is_known = fields.contains(&name.as_str());
            if !is_known {
                errors.add(name, "unknown_field", UNKNOWN);
            }
            is_known
        });
    }
    // Each round records the error of one field that does not fit, removes the field, and reads the
    // rest again.
    let mut object = Value::Object(object);
    let input = loop {
        #[cfg(test)]
        ROUNDS.with(|rounds| rounds.set(rounds.get() + 1));
        match serde_path_to_error::deserialize::<_, T>(&object) {
            Ok(input) => break input,
            Err(error) => {
                let (path, message) = (error.path().to_string(), error.inner().to_string());
                let unknown = message
                    .strip_prefix("unknown field `")
                    .and_then(|rest| rest.split_once('`'))
                    .map(|(name, _)| name.to_owned());
                let culprit = match &unknown {
                    Some(name) if object.get(name).is_some() => name.clone(),
                    _ => path.split(['.', '[']).next().unwrap_or_default().to_owned(),
                };
                // For a known field, absent and null mean the same.
                let is_null = object.get(&culprit).is_some_and(Value::is_null);
                match unknown {
                    Some(name) => errors.add(&name, "unknown_field", UNKNOWN),
                    None if is_null => {}
                    None => errors.add(&path, "invalid_type", message),
                }
                let removed = object.as_object_mut().and_then(|fields| fields.remove(&culprit));
                if removed.is_none() || errors.is_full() {
                    return errors.into_result(None);
                }
            }
        }
    };
    let output = input.check(&mut errors);
    errors.into_result(output)
}

const UNKNOWN: &str = "is not a field of this request";

/// The names that a struct has on the wire. `None` if parts of it are flattened.
fn field_names<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut names = FieldNames(None);
    let _ = T::deserialize(&mut names);
    names.0
}

/// A deserializer without data. It records the fields that a struct asks for.
struct FieldNames(Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for &mut FieldNames {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = Some(fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("there is no data"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

#[cfg(test)]
thread_local! {
    /// How often `check` has read an object.
    static ROUNDS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(serde::Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Input {
        tags: Vec<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
        count: u32,
    }

    impl Checked for Input {
        type Output = (Vec<String>, Option<String>, u32);

        fn check(self, _: &mut FieldErrors) -> Option<Self::Output> {
            Some((self.tags, self.kind, self.count))
        }
    }

    #[test]
    fn an_object_is_read_no_more_often_than_it_has_fields() {
        assert_eq!(field_names::<Input>(), Some(&["tags", "type", "count"][..]));
        let mut object: Map<String, Value> =
            (0..1000).map(|n| (format!("unknown{n}"), json!(n))).collect();
        object.insert("tags".to_owned(), json!(vec!["a"; 100]));
        object.insert("type".to_owned(), json!(1));
        object.insert("count".to_owned(), Value::Null);
        ROUNDS.set(0);
        assert!(check::<Input>(object, FieldErrors::default()).is_err());
        assert!(ROUNDS.get() <= 4, "{}", ROUNDS.get());
    }

    #[test]
    fn what_fits_is_read() {
        let object = json!({"type": "a", "tags": null, "count": 3});
        let read = check::<Input>(object.as_object().unwrap().clone(), FieldErrors::default());
        assert_eq!(read.ok(), Some((vec![], Some("a".to_owned()), 3)));
    }
}
