//! Times in answers: RFC 3339 in UTC. The text is that of chrono, but without chrono's general
//! formatter, which takes a third of the work on a small document.

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::{Serialize, Serializer};

use super::short_text::ShortText;

/// For `#[serde(serialize_with = "timestamp::write")]`.
pub(super) fn write<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    match text(*time) {
        Some(text) => serializer.serialize_str(text.as_str()),
        None => time.serialize(serializer),
    }
}

/// As [`write()`], or `null`.
pub(super) fn write_optional<S: Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => write(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// `2026-11-27T21:06:00.123456Z`. `None` for times that none of our databases holds and that chrono
/// has to write: parts of a microsecond, leap seconds, and years of more or less than four digits.
fn text(time: DateTime<Utc>) -> Option<ShortText<27>> {
    let date = time.date_naive();
    let (year, nanos) = (u32::try_from(date.year()).ok()?, time.nanosecond());
    if year > 9999 || nanos >= 1_000_000_000 || nanos % 1000 != 0 {
        return None;
    }
    let seconds = time.num_seconds_from_midnight();
    let mut text = ShortText::default();
    text.push_digits(year, 4)?;
    for (mark, part) in [
        ("-", date.month()),
        ("-", date.day()),
        ("T", seconds / 3600),
        (":", seconds / 60 % 60),
        (":", seconds % 60),
    ] {
        text.push(mark)?;
        text.push_digits(part, 2)?;
    }
    if nanos > 0 {
        text.push(".")?;
        match nanos % 1_000_000 {
            0 => text.push_digits(nanos / 1_000_000, 3)?,
            _ => text.push_digits(nanos / 1000, 6)?,
        }
    }
    text.push("Z")?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{NaiveDate, TimeDelta};
    use proptest::prelude::*;
    use rstest::rstest;

    #[derive(Serialize)]
    struct Document {
        #[serde(serialize_with = "write")]
        always: DateTime<Utc>,
        #[serde(serialize_with = "write_optional")]
        perhaps: Option<DateTime<Utc>>,
    }

    fn is_written_as_chrono_does(time: DateTime<Utc>) {
        let text = |document: &Document| serde_json::to_string(document).unwrap();
        let by_chrono = serde_json::to_string(&time).unwrap();
        let ours = text(&Document { always: time, perhaps: Some(time) });
        assert_eq!(ours, format!(r#"{{"always":{by_chrono},"perhaps":{by_chrono}}}"#));
        let ours = text(&Document { always: time, perhaps: None });
        assert_eq!(ours, format!(r#"{{"always":{by_chrono},"perhaps":null}}"#));
    }

    proptest! {
        #[test]
        fn every_time_is_written_as_chrono_writes_it(
            seconds in -63_000_000_000_i64..255_000_000_000,
            nanos in prop_oneof![
                Just(0),
                (0..1000_u32).prop_map(|millis| millis * 1_000_000),
                (0..1_000_000_u32).prop_map(|micros| micros * 1000),
                0..1_000_000_000_u32,
            ],
        ) {
            is_written_as_chrono_does(DateTime::from_timestamp(seconds, nanos).unwrap());
        }
    }

    #[rstest]
    #[case::least(DateTime::<Utc>::MIN_UTC)]
    #[case::most(DateTime::<Utc>::MAX_UTC)]
    #[case::year_before_the_first(date(-1))]
    #[case::year_0(date(0))]
    #[case::year_9999(date(9999))]
    #[case::year_10000(date(10_000))]
    #[case::leap_second(leap_second())]
    #[case::end_of_a_day(date(2027) - TimeDelta::microseconds(1))]
    fn the_ends_of_each_range_are_written_as_chrono_writes_them(#[case] time: DateTime<Utc>) {
        is_written_as_chrono_does(time);
    }

    fn date(year: i32) -> DateTime<Utc> {
        NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc()
    }

    fn leap_second() -> DateTime<Utc> {
        let day = NaiveDate::from_ymd_opt(2016, 12, 31).unwrap();
        day.and_hms_micro_opt(23, 59, 59, 1_500_000).unwrap().and_utc()
    }
}
