//! Times in the forms that a provider may write.

use chrono::{DateTime, Datelike, NaiveDateTime, Utc};
use serde_json::Value;

/// Longest text that is read as a time, in bytes.
const LONGEST: usize = 64;
/// A time in another year is an error of the sender.
const YEARS: std::ops::Range<i32> = 2000..2100;

const WITH_OFFSET: [&str; 3] =
    ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f %z"];
const WITHOUT_OFFSET: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];

/// RFC 3339 and similar forms, RFC 2822, or a number of seconds, milliseconds or microseconds since
/// 1970. A time without an offset is in UTC, as all times of the provider are.
pub(super) fn time(value: Option<&Value>) -> Option<DateTime<Utc>> {
    let time = match value? {
        Value::String(text) if text.len() <= LONGEST => of_text(text.trim()),
        Value::Number(number) => of_number(number.as_f64()?),
        _ => None,
    };
    time.filter(|time| YEARS.contains(&time.year()))
}

fn of_text(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    if let Ok(number) = text.parse() {
        return of_number(number);
    }
    let with_offset = WITH_OFFSET.iter().find_map(|form| DateTime::parse_from_str(text, form).ok());
    if let Some(time) = with_offset.or_else(|| DateTime::parse_from_rfc2822(text).ok()) {
        return Some(time.to_utc());
    }
    let bare = ["Z", "UTC", "GMT"].iter().find_map(|zone| text.strip_suffix(zone));
    let bare = bare.unwrap_or(text).trim_end();
    let mut times = WITHOUT_OFFSET.iter().map(|form| NaiveDateTime::parse_from_str(bare, form));
    times.find_map(Result::ok).map(|time| time.and_utc())
}

fn of_number(number: f64) -> Option<DateTime<Utc>> {
    // Seconds have ten digits for the next 260 years; milliseconds have three more.
    let microseconds = match number {
        n if n < 1e11 => n * 1e6,
        n if n < 1e14 => n * 1e3,
        n => n,
    };
    // A cast of a float stops at the bounds of the integer, which are outside all valid years.
    DateTime::from_timestamp_micros(microseconds as i64)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!("2026-01-01T12:00:00Z"), true)]
    #[case(json!("2026-01-01T13:00:00+01:00"), true)]
    #[case(json!("2026-01-01T13:00:00.000+0100"), true)]
    #[case(json!("2026-01-01T12:00:00"), true)]
    #[case(json!("2026-01-01 12:00:00.000000"), true)]
    #[case(json!("2026-01-01 12:00:00 UTC"), true)]
    #[case(json!("2026-01-01 12:00:00 +0000"), true)]
    #[case(json!(" Thu, 01 Jan 2026 12:00:00 GMT "), true)]
    #[case(json!(1_767_268_800), true)]
    #[case(json!(1_767_268_800.0), true)]
    #[case(json!("1767268800"), true)]
    #[case(json!(1_767_268_800_000_i64), true)]
    #[case(json!(1_767_268_800_000_000_i64), true)]
    #[case(json!("2026-02-30T00:00:00Z"), false)]
    #[case(json!("20260-01-01T00:00:00Z"), false)]
    #[case(json!("0000-01-01T00:00:00Z"), false)]
    #[case(json!(1e300), false)]
    #[case(json!("NaN"), false)]
    #[case(json!("-inf"), false)]
    #[case(json!(-1), false)]
    #[case(json!("x".repeat(1_000_000)), false)]
    #[case(json!(null), false)]
    #[case(json!([]), false)]
    fn reads_times(#[case] value: Value, #[case] is_noon: bool) {
        assert_eq!(time(Some(&value)), is_noon.then(|| "2026-01-01T12:00:00Z".parse().unwrap()));
    }
}
