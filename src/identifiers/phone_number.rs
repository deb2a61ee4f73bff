//! Telephone numbers and short codes. Input has many notations; storage and search use one.

use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization;

use super::InvalidAddress;

/// Longest text that is read as a number, in bytes. Invisible characters of a pasted number take
/// three bytes each.
const LONGEST: usize = 96;
/// Number of digits with the country code (ITU-T E.164). Shorter numbers than seven have no
/// subscriber part.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A telephone number in E.164: `+` and at most 15 digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// The number as `+` and digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = InvalidAddress;

    /// Accepts usual punctuation (`+1 (312) 555-0101`), also the punctuation of word processors.
    /// The country code is required.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        compact(text)
            .filter(|compact| compact.starts_with('+'))
            .and_then(|compact| international(&compact))
            .map(|number| Self(number.formatted))
            .ok_or(InvalidAddress::PhoneNumber)
    }
}

/// A number that a tenant can hold: a telephone number in E.164, or a short code of exactly 5 or 6
/// digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LineNumber(String);

impl LineNumber {
    /// The number as `+` and digits, or the digits of the short code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LineNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LineNumber {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Some(code) = compact(text).filter(|compact| is_short_code(compact)) {
            return Ok(Self(code));
        }
        let number: PhoneNumber = text.parse().map_err(|_| InvalidAddress::LineNumber)?;
        Ok(Self(number.0))
    }
}

/// The stored form of an address as a provider writes it: E.164 for a telephone number in any
/// notation; a short code or a name unchanged. A number that can be read in two ways stays
/// unchanged too, so that it cannot lead to the wrong number.
pub fn canonical_address(text: &str) -> String {
    let text = text.trim();
    let number = text.strip_prefix("tel:").or_else(|| text.strip_prefix("sms:")).unwrap_or(text);
    // JSON numbers can arrive with a fraction of zeros, which is not part of the phone number.
    let number = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.bytes().all(|b| b == b'0') => {
            whole
        }
        _ => number,
    };
    compact(number).and_then(|compact| read(&compact)).unwrap_or_else(|| text.to_owned())
}

/// The digits to search for when a user types or pastes a number, with or without its country code.
/// `None` if the text is not part of a number.
pub fn searched_digits(text: &str) -> Option<String> {
    // The international form has the 0 before the area code in brackets; it is not dialled.
    let digits = compact(&text.replace("(0)", ""))?;
    let digits = digits.trim_start_matches(['+', '0']);
    (digits.len() >= 3).then(|| digits.to_owned())
}

/// A number without punctuation. `None` if the text is not a number.
fn compact(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    let mut compact = String::with_capacity(16);
    // NFKC converts full-width digits, non-breaking hyphens and spaces, and similar characters.
    for c in text.trim().nfkc() {
        match c {
            '0'..='9' => compact.push(c),
            '+' if compact.is_empty() => compact.push(c),
            c if is_filler(c) => {}
            _ => return None,
        }
    }
    (!compact.is_empty()).then_some(compact)
}

/// Punctuation of numbers, and characters that are invisible or only change the text direction.
fn is_filler(c: char) -> bool {
    let is_space = c.is_whitespace() && !c.is_control();
    is_space
        || matches!(
            c,
            '-' | '.' | '(' | ')' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{feff}'
        )
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

fn is_short_code(compact: &str) -> bool {
    matches!(compact.len(), 5 | 6) && !compact.starts_with(['+', '0'])
}

/// True for area code and subscriber number of the North American Numbering Plan.
fn is_north_american(digits: &str) -> bool {
    let begins_as_it_must = |at: usize| matches!(digits.as_bytes().get(at), Some(b'2'..=b'9'));
    digits.len() == 10 && begins_as_it_must(0) && begins_as_it_must(3)
}

struct International {
    formatted: String,
    /// True if the numbering plan of the country contains the number.
    is_valid: bool,
}

/// Parses a number that starts with `+`.
fn international(compact: &str) -> Option<International> {
    let read = |text: &str| {
        let number = phonenumber::parse(None, text).ok()?;
        let formatted = number.format().mode(phonenumber::Mode::E164).to_string();
        Some((number, formatted))
    };
    let (_, once) = read(compact)?;
    // A stored number must parse to itself. A text with several trunk prefixes loses one in each
    // parse.
    let (number, formatted) = read(&once).filter(|(_, twice)| *twice == once)?;
    let has_length = match compact.strip_prefix("+1") {
        // Ten digits follow, and the first is neither 0 nor 1.
        Some(national) => national.len() == 10 && !national.starts_with(['0', '1']),
        None => DIGITS.contains(&formatted.len().saturating_sub(1)),
    };
    let is_number = has_length && phonenumber::is_viable(&formatted);
    is_number.then(|| International { formatted, is_valid: number.is_valid() })
}

/// The number that a provider means, in E.164.
fn read(compact: &str) -> Option<String> {
    // Fast path, because nearly all numbers are North American.
    if compact.strip_prefix("+1").is_some_and(is_north_american) {
        return Some(compact.to_owned());
    }
    if compact.starts_with('+') {
        return Some(international(compact)?.formatted);
    }
    if is_short_code(compact) {
        return Some(compact.to_owned());
    }
    let valid = |number: &str| {
        let number = international(&format!("+{number}")).filter(|number| number.is_valid);
        number.map(|number| number.formatted)
    };
    // `00` is the international prefix in most countries.
    if let Some(number) = compact.strip_prefix("00") {
        return valid(number);
    }
    let national = compact.strip_prefix('1').unwrap_or(compact);
    let national = is_north_american(national).then(|| format!("+1{national}"));
    match (national, valid(compact)) {
        (Some(one), Some(other)) if one != other => None,
        (national, plain) => national.or(plain),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("+13125550101", "+13125550101")]
    #[case(" +1 (312) 555-0101 ", "+13125550101")]
    #[case("+44 20 7946 0958", "+442079460958")]
    #[case("+1 312\u{2011}555\u{2011}0101", "+13125550101")]
    #[case("\u{202a}+1\u{a0}312\u{a0}555\u{a0}0101\u{202c}", "+13125550101")]
    #[case("\u{200e}+1 312 555\u{2013}0101\u{200f}", "+13125550101")]
    #[case("\u{2066}+1.312.555.0101\u{2069}\u{feff}", "+13125550101")]
    #[case("＋１３１２５５５０１０１", "+13125550101")]
    fn phone_numbers_become_e164(#[case] given: &str, #[case] expected: &str) {
        assert_eq!(given.parse::<PhoneNumber>().unwrap().as_str(), expected);
        assert_eq!(given.parse::<LineNumber>().unwrap().as_str(), expected);
        assert_eq!(canonical_address(given), expected);
    }

    #[rstest]
    #[case("3125550101.0", "+13125550101")]
    #[case("13125550101.00", "+13125550101")]
    #[case("312.555.0101", "+13125550101")]
    fn a_number_with_a_fraction_that_is_none_has_no_further_digit(
        #[case] given: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(canonical_address(given), expected);
    }

    #[rstest]
    #[case("")]
    #[case("+")]
    #[case("3125550101")]
    #[case("+1")]
    #[case("+1312555010112345678")]
    #[case("+1312555abcd")]
    #[case("tel:+13125550101")]
    #[case("+999123456789")]
    #[case::too_short_for_north_america("+1312555010")]
    #[case::too_long_for_north_america("+131255501011")]
    #[case::no_area_of_north_america("+11125550101")]
    #[case::a_one_too_many("+113125550101")]
    #[case::two_plus_signs("++13125550101")]
    #[case::a_control_character("+1312555\n0101")]
    #[case::endless(&"+1 312 555 0101 ".repeat(100_000))]
    fn what_is_no_phone_number_is_refused(#[case] given: &str) {
        assert_eq!(given.parse::<PhoneNumber>(), Err(InvalidAddress::PhoneNumber));
        assert_eq!(given.parse::<LineNumber>(), Err(InvalidAddress::LineNumber));
    }

    #[rstest]
    #[case("12345")]
    #[case("543210")]
    fn a_short_code_can_be_held_and_is_no_telephone(#[case] code: &str) {
        assert_eq!(code.parse::<LineNumber>().unwrap().as_str(), code);
        assert_eq!(code.parse::<PhoneNumber>(), Err(InvalidAddress::PhoneNumber));
        assert_eq!(canonical_address(code), code);
    }

    #[rstest]
    #[case("1234")]
    #[case("1234567")]
    #[case("01234")]
    #[case("1234a")]
    fn what_is_no_short_code_is_refused(#[case] given: &str) {
        assert_eq!(given.parse::<LineNumber>(), Err(InvalidAddress::LineNumber));
    }

    #[rstest]
    #[case("13125550101", "+13125550101")]
    #[case("3125550101", "+13125550101")]
    #[case("(312) 555-0101", "+13125550101")]
    #[case("0013125550101", "+13125550101")]
    #[case("0044 20 7946 0958", "+442079460958")]
    // A number in Leeds, or in Belgium when dialled from North America.
    #[case("0113 234 5678", "0113 234 5678")]
    #[case("442079460958", "+442079460958")]
    #[case("tel:+1-312-555-0101", "+13125550101")]
    #[case("sms:+13125550101", "+13125550101")]
    // A number in Norway, or in North Carolina.
    #[case("4722345678", "4722345678")]
    #[case("CHURCH", "CHURCH")]
    #[case(" Grace 4U ", "Grace 4U")]
    #[case("2079460958x", "2079460958x")]
    #[case("1", "1")]
    #[case("", "")]
    fn a_provider_may_write_addresses_as_it_likes(#[case] given: &str, #[case] expected: &str) {
        assert_eq!(canonical_address(given), expected);
    }

    #[rstest]
    #[case("(312) 555-8101", Some("3125558101"))]
    #[case("+1 312 555 8101", Some("13125558101"))]
    #[case("020 7946 0958", Some("2079460958"))]
    #[case("+44 (0)20 7946 0958", Some("442079460958"))]
    #[case("555\u{2011}81", Some("55581"))]
    #[case("12", None)]
    #[case("()-", None)]
    #[case("+0", None)]
    #[case("Room 312", None)]
    fn numbers_are_searched_by_their_digits(#[case] given: &str, #[case] expected: Option<&str>) {
        assert_eq!(searched_digits(given).as_deref(), expected);
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text: String, near in "[+0-9()‑ -]{0,24}") {
            for text in [text, near] {
                let address = canonical_address(&text);
                // The stored form is found again by the same search.
                prop_assert_eq!(canonical_address(&address), address);
                let _ = (text.parse::<LineNumber>(), searched_digits(&text));
            }
        }
    }
}
