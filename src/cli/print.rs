//! How commands print what they have found: columns for people.

use comfy_table::{Table, presets::NOTHING};
use serde_json::Value;

/// A value in a cell. What is absent is a dash.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Rows under the names of their columns.
pub(super) fn table<const N: usize>(columns: [&str; N], rows: &[Value]) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns);
    for row in rows {
        table.add_row(columns.map(|column| text(&row[column])));
    }
    println!("{table}");
}

/// One row, a line for each of its fields but those that are lists of rows.
pub(super) fn fields(row: &Value) {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let is_list_of_rows =
        |value: &Value| value.as_array().is_some_and(|rows| rows.iter().any(Value::is_object));
    for (name, value) in row.as_object().into_iter().flatten() {
        if !is_list_of_rows(value) {
            table.add_row([name.clone(), text(value)]);
        }
    }
    println!("{table}");
}
