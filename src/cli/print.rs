//! How commands print what they have found. Everything goes through here: names and reasons are texts of strangers, and on a
//! terminal a character can be a command.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use comfy_table::{Table, presets::NOTHING};
use serde_json::Value;

use crate::plain_text::{harmless, harmless_json, harmless_lines};

/// As `println!`, for a person.
macro_rules! say {
    () => { $crate::cli::print::line(format_args!("")) };
    ($($text:tt)*) => { $crate::cli::print::line(format_args!($($text)*)) };
}

/// A text of ours, perhaps with something of others in it. It may have several lines.
pub(super) fn line(text: Arguments<'_>) {
    write(harmless_lines(&text.to_string(), ""));
}

/// In one piece. A reader that has seen enough, as `head`, ends no command; another failure is told.
fn write(mut text: String) {
    text.push('\n');
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("narthex: the output could not be written: {error}");
        }
        _ => {}
    }
}

/// Why a command has failed.
pub(super) fn failure(text: Arguments<'_>) {
    eprintln!("narthex: {}", harmless_lines(&text.to_string(), ""));
}

/// For scripts.
pub(super) fn json(document: &Value) {
    write(harmless_json(&document.to_string()));
}

/// A value in a cell. What is absent is a dash.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => harmless(text),
        other => harmless_json(&other.to_string()),
    }
}

/// Rows under the names of their columns.
pub(super) fn table<const N: usize>(columns: [&str; N], rows: &[Value]) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns);
    for row in rows {
        table.add_row(columns.map(|column| text(&row[column])));
    }
    write(table.to_string());
}

/// One row, a line for each of its fields but those that are lists of rows.
pub(super) fn fields(row: &Value) {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let is_list_of_rows =
        |value: &Value| value.as_array().is_some_and(|rows| rows.iter().any(Value::is_object));
    for (name, value) in row.as_object().into_iter().flatten() {
        if !is_list_of_rows(value) {
            table.add_row([harmless(name), text(value)]);
        }
    }
    write(table.to_string());
}
