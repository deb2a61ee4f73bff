//! Text from users (names, reasons, errors) in emails, logs and terminals, where some characters
//! have a special effect.

use std::fmt::Write as _;

/// Maximum number of characters of a name that is quoted in an email.
const LONGEST_QUOTED: usize = 60;

/// True if a character moves the cursor, ends the line, or changes the order in which the following
/// text is shown. Names must not contain such characters.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{2028}' | '\u{2029}'
            // Embeddings, overrides and isolates of text direction (Unicode Standard Annex 9).
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Interlinear annotations and tags.
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// True for invisible characters, which can make two different names look the same (Unicode,
/// `Default_Ignorable_Code_Point`, and the Braille blank). Joiners and variation selectors are not
/// included, because scripts and emoji need them.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}')
}

/// Joiners and variation selectors. They are visible only by their effect on other characters.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{180b}'..='\u{180f}' | '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// The error of a text that is not valid as the name of a person, an organization or a role. A name
/// has one line and no invisible characters.
pub fn fault_of_name(name: &str) -> Option<&'static str> {
    if name.chars().any(is_control) {
        return Some("must not contain control characters or line breaks");
    }
    let is_seen = |c: char| !is_joiner(c) && !c.is_whitespace();
    if name.chars().any(is_invisible) || !name.chars().any(is_seen) {
        return Some("must not contain invisible characters");
    }
    None
}

/// The text with each control or invisible character escaped, as `\u{1b}` or `\n`, for one line on
/// a terminal.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) || is_invisible(c) { escape(c, &mut shown) } else { shown.push(c) }
    }
    shown
}

fn escape(c: char, shown: &mut String) {
    match c {
        '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
        c => shown.extend(c.escape_unicode()),
    }
}

/// As [`harmless`], for a text with line breaks that Narthex itself has made. Lines after the first
/// are indented by `indent`.
pub fn harmless_lines(text: &str, indent: &str) -> String {
    let mut lines = text.split('\n');
    let mut shown = harmless(lines.next().unwrap_or_default());
    for line in lines {
        let indent = if line.is_empty() { "" } else { indent };
        // Writing into a `String` cannot fail.
        let _ = write!(shown, "\n{indent}{}", harmless(line));
    }
    shown
}

/// As [`harmless`], for a JSON document. Its value stays the same, because such characters occur
/// only inside its strings.
pub fn harmless_json(document: &str) -> String {
    let mut shown = String::with_capacity(document.len());
    for c in document.chars() {
        if c != '\n' && (is_control(c) || is_invisible(c)) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing into a `String` cannot fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Parses a name from the command line: one line, 1 to `MOST` characters.
pub fn name<const MOST: usize>(text: &str) -> Result<String, String> {
    let name = text.trim();
    if !(1..=MOST).contains(&name.chars().count()) {
        return Err(format!("must have 1 to {MOST} characters"));
    }
    match fault_of_name(name) {
        Some(fault) => Err(fault.to_owned()),
        None => Ok(name.to_owned()),
    }
}

/// A name in quotation marks, for an email: one line, short, without text that a mail program turns
/// into a link.
pub fn quoted(name: &str) -> String {
    let spaced = |c: char| is_control(c) || is_invisible(c) || c.is_whitespace();
    let words: Vec<&str> = name.split(spaced).filter(|word| !word.is_empty()).collect();
    let name = words
        .join(" ")
        .replace("://", " ")
        .replace(['"', '\u{201c}', '\u{201d}', '\u{ab}', '\u{bb}'], "'");
    let mut shown = String::new();
    let mut characters = name.chars().peekable();
    while let Some(c) = characters.next() {
        let is_followed = characters.peek().is_some_and(|next| !next.is_whitespace());
        match c {
            '@' => shown.push_str(" at "),
            '/' | '\\' if is_followed => shown.push_str(" / "),
            // Separators of host names in any script (UTS 46), and the colon after the name of a
            // URL scheme.
            '.' | ':' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}' if is_followed => {
                shown.push(c);
                shown.push(' ');
            }
            c => shown.push(c),
        }
    }
    if shown.chars().count() > LONGEST_QUOTED {
        shown = shown.chars().take(LONGEST_QUOTED - 3).chain("...".chars()).collect();
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("Grace Chapel", "\"Grace Chapel\"")]
    #[case("St. John's, U.S.", "\"St. John's, U. S.\"")]
    #[case(" Win\r\n\nhttps://evil.example/pay?x=1 ", "\"Win https evil. example / pay?x=1\"")]
    #[case("www.evil.example", "\"www. evil. example\"")]
    #[case("me@evil.example", "\"me at evil. example\"")]
    #[case("mailto:me", "\"mailto: me\"")]
    #[case("evil\u{3002}example", "\"evil\u{3002} example\"")]
    #[case("ev\u{200b}il\u{202e}x", "\"ev il x\"")]
    #[case("\u{201d} said \"he\"", "\"' said 'he'\"")]
    fn a_name_is_quoted_without_links(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(quoted(name), expected);
    }

    #[rstest]
    #[case("Zo\u{eb} \u{1f468}\u{200d}\u{1f469}", "Zo\u{eb} \u{1f468}\u{200d}\u{1f469}")]
    #[case("a\x1b[2Jb\x07", "a\\u{1b}[2Jb\\u{7}")]
    #[case("a\nb\tc", "a\\nb\\tc")]
    #[case("a\u{9b}1m\u{202e}b", "a\\u{9b}1m\\u{202e}b")]
    fn what_could_move_the_cursor_is_written_out(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(harmless(text), expected);
    }

    #[test]
    fn a_document_stays_the_same_one() {
        let document = serde_json::json!({"a": "\x1b\u{9b}\u{202e}\u{e0041}\u{7f}z\n"});
        let shown = harmless_json(&document.to_string());
        assert!(shown.is_ascii() && !shown.chars().any(char::is_control), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), document);
    }

    #[rstest]
    #[case(" Grace ", Ok("Grace".to_owned()))]
    #[case("", Err("must have 1 to 9 characters".to_owned()))]
    #[case("0123456789", Err("must have 1 to 9 characters".to_owned()))]
    #[case("a\nb", Err("must not contain control characters or line breaks".to_owned()))]
    #[case("own\u{200b}er", Err("must not contain invisible characters".to_owned()))]
    #[case("\u{3164}", Err("must not contain invisible characters".to_owned()))]
    #[case("\u{200d}\u{fe0f}", Err("must not contain invisible characters".to_owned()))]
    #[case("\u{2764}\u{fe0f} Zo\u{eb}", Ok("\u{2764}\u{fe0f} Zo\u{eb}".to_owned()))]
    fn a_name_is_one_short_line(#[case] text: &str, #[case] expected: Result<String, String>) {
        assert_eq!(name::<9>(text), expected);
    }

    #[test]
    fn further_lines_are_indented() {
        assert_eq!(harmless_lines("a\n\nb\x1b", "  "), "a\n\n  b\\u{1b}");
    }

    proptest! {
        #[test]
        fn a_quoted_name_is_one_short_line_in_which_no_host_is_named(name in any::<String>()) {
            let shown = quoted(&name);
            prop_assert!(shown.chars().count() <= LONGEST_QUOTED + 2);
            prop_assert!(!shown.chars().any(|c| is_control(c) || is_invisible(c)));
            prop_assert!(!shown.contains("://") && !shown.contains('@'));
            let inner: Vec<char> = shown.chars().collect();
            let names_host = inner.windows(2).any(|w| w[0] == '.' && w[1].is_alphanumeric());
            prop_assert!(!names_host, "{}", shown);
        }

        #[test]
        fn nothing_harmful_is_left(text in any::<String>()) {
            prop_assert!(!harmless(&text).chars().any(|c| is_control(c) || is_invisible(c)));
        }
    }
}
