//! The output of commands. All of it goes through here: names and reasons can be texts of clients,
//! and a terminal can take a character as a command.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use comfy_table::{Table, presets::NOTHING};
use serde_json::Value;

use crate::plain_text::{harmless, harmless_json, harmless_lines};

/// As `println!`, with control characters made harmless.
macro_rules! say {
    () => { $crate::cli::print::line(format_args!("")) };
    ($($text:tt)*) => { $crate::cli::print::line(format_args!($($text)*)) };
}

/// Prints a text of ours, which may contain texts of clients. It may have several lines.
pub(super) fn line(text: Arguments<'_>) {
    write(harmless_lines(&text.to_string(), ""));
}

/// Writes the text at once. A reader that closes early, such as `head`, is no error; other errors
/// are reported.
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

/// Prints why a command has failed.
pub(super) fn failure(text: Arguments<'_>) {
    eprintln!("narthex: {}", harmless_lines(&text.to_string(), ""));
}

/// Prints one JSON document, for scripts.
pub(super) fn json(document: &Value) {
    write(harmless_json(&document.to_string()));
}

/// A value in a cell; a dash for an absent value.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => harmless(text),
        other => harmless_json(&other.to_string()),
    }
}

/// Prints rows as a table with these columns.
pub(super) fn table<const N: usize>(columns: [&str; N], rows: &[Value]) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns);
    for row in rows {
        table.add_row(columns.map(|column| text(&row[column])));
    }
    write(table.to_string());
}

/// Prints one row, a line for each field. Fields that are lists of rows are left out.
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
