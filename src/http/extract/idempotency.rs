//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): it identifies a repeated request.

use axum::http::HeaderMap;

use crate::http::problem::{FieldError, Problem};

const NAME: &str = "idempotency-key";
const LONGEST: usize = 255;

/// The key that the client has chosen, if there is one. A bare key and the quoted string of the
/// draft name the same key.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let is_plain = key.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    if values.next().is_some() || key.is_empty() || key.len() > LONGEST || !is_plain {
        return Err(Problem::validation(vec![FieldError {
            field: "Idempotency-Key".to_owned(),
            code: "invalid",
            message: "must be given once, with 1 to 255 visible ASCII characters".to_owned(),
        }]));
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[], Ok(None))]
    #[case(&["abc"], Ok(Some("abc")))]
    #[case(&["\"abc\""], Ok(Some("abc")))]
    #[case(&["8e03978e-40d5-43dd-bc93-6894a57f9324"], Ok(Some("8e03978e-40d5-43dd-bc93-6894a57f9324")))]
    #[case(&[""], Err(()))]
    #[case(&["\"\""], Err(()))]
    #[case(&["a b"], Err(()))]
    #[case(&["\"abc"], Err(()))]
    #[case(&["a", "a"], Err(()))]
    #[case(&["ä"], Err(()))]
    fn keys_are_taken_bare_and_quoted(
        #[case] values: &[&str],
        #[case] expected: Result<Option<&str>, ()>,
    ) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(NAME, axum::http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let found = idempotency_key(&headers).map_err(drop);
        assert_eq!(found, expected.map(|key| key.map(str::to_owned)));
    }

    #[test]
    fn a_key_has_an_end() {
        let key = |length| {
            HeaderMap::from_iter([(
                axum::http::HeaderName::from_static(NAME),
                "k".repeat(length).parse().unwrap(),
            )])
        };
        assert!(idempotency_key(&key(255)).is_ok());
        assert!(idempotency_key(&key(256)).is_err());
    }
}
