//! Logging: log lines on standard error.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::configuration::{LogFormat, LogSettings};
use crate::plain_text::harmless_lines;

/// Indentation of the further lines of an entry.
const INDENT: &str = "    ";

/// Starts logging. An invalid filter is replaced by `info`, with a warning. Repeated calls have no
/// effect.
pub fn start(settings: &LogSettings) {
    let (filter, fault) = match EnvFilter::try_new(&settings.filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let started = match settings.format {
        LogFormat::Text => {
            lines.with_target(false).with_writer(|| Entries(io::stderr())).finish().try_init()
        }
        LogFormat::Json => lines.json().finish().try_init(),
    };
    if let (Ok(()), Some(error)) = (started, fault) {
        tracing::warn!(%error, "log.filter cannot be read; logging at `info`");
    }
}

/// Writes log entries so that text inside an entry cannot look like another entry: further lines
/// are indented, and terminal control characters are escaped.
struct Entries<W>(W);

impl<W: Write> Write for Entries<W> {
    /// The formatter writes each entry with one call.
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(entry);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let mut shown = String::with_capacity(text.len() + 1);
        // Keeps the formatter's own colours. The formatter has already escaped colour codes in log
        // values, and colours would do no harm.
        let mut rest = text;
        while let Some((before, code)) = rest.split_once("\x1b[") {
            shown.push_str(&harmless_lines(before, INDENT));
            let digits = code.bytes().take_while(|b| b.is_ascii_digit() || *b == b';').count();
            let is_colour = code.as_bytes().get(digits) == Some(&b'm');
            shown.push_str(if is_colour { "\x1b[" } else { "\\u{1b}[" });
            rest = code;
        }
        shown.push_str(&harmless_lines(rest, INDENT));
        shown.push('\n');
        self.0.write_all(shown.as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("plain\n", "plain\n")]
    #[case("a\n2026-11-27T00:00:00Z ERROR forged\n", "a\n    2026-11-27T00:00:00Z ERROR forged\n")]
    #[case("\x1b[2m2026\x1b[0m \x1b[38;5;1mx\n", "\x1b[2m2026\x1b[0m \x1b[38;5;1mx\n")]
    #[case("a\x1b[2Jb\x1b]0;title\x07\r\n", "a\\u{1b}[2Jb\\u{1b}]0;title\\u{7}\\r\n")]
    #[case("\u{202e}\u{9b}1m\n", "\\u{202e}\\u{9b}1m\n")]
    fn no_text_passes_for_an_entry_or_a_command(#[case] entry: &str, #[case] expected: &str) {
        let mut written = Vec::new();
        Entries(&mut written).write_all(entry.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }
}
