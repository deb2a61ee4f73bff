//! Repairs a body that is not quite JSON: a provider's error in one member must not cost the whole
//! message.

use std::fmt::Write;

use serde_json::Number;

/// Depth of nested lists and objects that is kept. Deeper values become `null`. serde_json stops at
/// 128.
const MAX_DEPTH: usize = 100;

/// The body as text that serde_json can read, if only small errors prevent it: bytes that are not
/// UTF-8 and single surrogates become U+FFFD, control characters in strings are escaped, and
/// numbers that no `f64` holds become `null`. A body that is not JSON for another reason stays so.
pub(super) fn repaired(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut out = String::with_capacity(rest.len());
    let mut depth = 0_usize;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => length_of_string(rest),
            '-' | '+' | '.' | '0'..='9' | 'N' | 'I' => length_of_number(rest),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        if matches!(first, '[' | '{') {
            depth += 1;
            if depth == MAX_DEPTH + 1 {
                out.push_str("null");
            }
        }
        if depth <= MAX_DEPTH {
            match first {
                '"' => write_string(token, &mut out),
                _ if length == first.len_utf8() && !first.is_ascii_digit() => out.push(first),
                _ if serde_json::from_str::<Number>(token).is_ok() => out.push_str(token),
                _ => out.push_str("null"),
            }
        }
        if matches!(first, ']' | '}') {
            depth = depth.saturating_sub(1);
        }
    }
    out
}

/// Bytes of a string with its final quotation mark; the whole text if there is none.
fn length_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn length_of_number(text: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

/// Writes a string with its quotation marks. Characters that are not allowed in it are replaced.
fn write_string(token: &str, out: &mut String) {
    let mut rest = token;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = write_escape(rest, out),
            c if c < ' ' => {
                // A write to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

/// Writes one escape. `rest` begins after the backslash. Returns the text after the escape.
fn write_escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let Some(kind) = rest.chars().next() else {
        return rest;
    };
    match kind {
        '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {
            out.push('\\');
            out.push(kind);
            &rest[1..]
        }
        'u' => {
            let after = &rest[1..];
            match (unit(after), after.get(4..).and_then(|after| unit(after.strip_prefix("\\u")?))) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => {
                    out.push('\\');
                    out.push_str(&rest[..11]);
                    &rest[11..]
                }
                (Some(unit), _) if !(0xd800..=0xdfff).contains(&unit) => {
                    out.push('\\');
                    out.push_str(&rest[..5]);
                    &rest[5..]
                }
                _ => {
                    out.push('\u{fffd}');
                    let digits = after.bytes().take(4).take_while(u8::is_ascii_hexdigit).count();
                    &after[digits..]
                }
            }
        }
        // There is no such escape, so the character stands for itself.
        _ => rest,
    }
}

/// The value of the four hexadecimal digits at the start of a text.
fn unit(text: &str) -> Option<u16> {
    let digits = text.get(..4)?;
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex { u16::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::Value;

    use super::*;

    #[rstest]
    #[case(r#"{"a":"\ud83d\ude4f","b":"\ud83d","c":"\ude4f!"}"#, r#"{"a":"🙏","b":"�","c":"�!"}"#)]
    #[case(r#"{"a":"\uD83D\\ude4f","b":"\u12","c":"\u"}"#, r#"{"a":"�\\ude4f","b":"�","c":"�"}"#)]
    #[case(
        r#"{"a":1e400,"b":[-1E999,+1,.5,01,NaN,-Infinity],"c":1e4}"#,
        r#"{"a":null,"b":[null,null,null,null,null,null],"c":1e4}"#
    )]
    #[case("{\"a\":\"1\t2\u{1}\"}", r#"{"a":"1\t2\u0001"}"#)]
    #[case("\u{feff}{}", "{}")]
    #[case(r#"{"a":"\'\x"}"#, r#"{"a":"'x"}"#)]
    fn mends(#[case] body: &str, #[case] expected: &str) {
        let mended: Value = serde_json::from_str(&repaired(body.as_bytes())).unwrap();
        assert_eq!(mended, serde_json::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn what_lies_too_deep_is_left_out_alone() {
        let deep = format!(r#"{{"a":{}"]"{},"b":1}}"#, "[".repeat(300), "]".repeat(300));
        let mended: Value = serde_json::from_str(&repaired(deep.as_bytes())).unwrap();
        assert_eq!(mended["b"], 1);
    }

    proptest! {
        /// The repair of valid JSON does not change its meaning.
        #[test]
        fn leaves_json_as_it_is(texts: Vec<String>, whole: i64, fraction: f64) {
            let value = serde_json::json!({"texts": texts, "whole": whole, "fraction": fraction, "no": [null, true]});
            let body = value.to_string();
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            prop_assert_eq!(read(&repaired(body.as_bytes())), read(&body));
        }

        #[test]
        fn no_bytes_cause_a_panic(body: Vec<u8>) {
            repaired(&body);
        }

        #[test]
        fn no_string_causes_a_panic(text in r#""[\\u0-9a-fD"'x\x00-\x20é]{0,40}"#) {
            repaired(text.as_bytes());
        }
    }
}
