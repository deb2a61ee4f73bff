use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// Our own test vector: the secret has the bytes 1 to 32.
const SECRET: &str = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
const ID: &str = "msg_test0001";
const BODY: &[u8] = br#"{"type":"user.created","data":{"id":"user_1"}}"#;
const SIGNATURE: &str = "v1,XvOPs8Dzia1qDs6HPAEKq0wjwFUOfyRgs60wq0m7a9Q=";
const NOW: i64 = 1_767_225_600;

fn secret() -> Secret {
    Secret::parse(SECRET).unwrap()
}

fn check(
    ids: &[&str],
    timestamps: &[&str],
    signatures: &[&str],
    body: &[u8],
    now: i64,
) -> Result<(), SignatureError> {
    let bytes = |texts: &[&str]| -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    };
    let (ids, timestamps, signatures) = (bytes(ids), bytes(timestamps), bytes(signatures));
    let headers = SignedHeaders {
        ids: ids.iter().map(Vec::as_slice).collect(),
        timestamps: timestamps.iter().map(Vec::as_slice).collect(),
        signatures: signatures.iter().map(Vec::as_slice).collect(),
    };
    verify(&secret(), &headers, body, now).map(drop)
}

fn check_signature(signature: &str) -> Result<(), SignatureError> {
    check(&[ID], &[&NOW.to_string()], &[signature], BODY, NOW)
}

#[test]
fn our_vector_verifies_and_signing_makes_it() {
    assert_eq!(check_signature(SIGNATURE), Ok(()));
    assert_eq!(secret().sign(ID, NOW, BODY), SIGNATURE);
}

#[test]
fn the_published_vector_verifies() {
    // standard-webhooks/standard-webhooks, libraries/go/webhook_test.go
    let secret = Secret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let headers = SignedHeaders {
        ids: vec![b"msg_p5jXN8AQM9LWM0D4loKWxJek"],
        timestamps: vec![b"1614265330"],
        signatures: vec![b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="],
    };
    let id = verify(&secret, &headers, br#"{"test": 2432232314}"#, 1_614_265_330);
    assert_eq!(id, Ok("msg_p5jXN8AQM9LWM0D4loKWxJek"));
}

#[rstest]
#[case(300, Ok(()))]
#[case(-300, Ok(()))]
#[case(301, Err(SignatureError::OutsideTolerance))]
#[case(-301, Err(SignatureError::OutsideTolerance))]
fn five_minutes_either_way_pass(#[case] away: i64, #[case] expected: Result<(), SignatureError>) {
    assert_eq!(check(&[ID], &[&NOW.to_string()], &[SIGNATURE], BODY, NOW + away), expected);
}

#[test]
fn headers_must_be_there_once() {
    let now = NOW.to_string();
    let missing = Err(SignatureError::MissingHeader);
    assert_eq!(check(&[], &[&now], &[SIGNATURE], BODY, NOW), missing);
    assert_eq!(check(&[ID], &[], &[SIGNATURE], BODY, NOW), missing);
    assert_eq!(check(&[ID], &[&now], &[], BODY, NOW), missing);
    let repeated = Err(SignatureError::RepeatedHeader);
    assert_eq!(check(&[ID, ID], &[&now], &[SIGNATURE], BODY, NOW), repeated);
    assert_eq!(check(&[ID], &[&now, &now], &[SIGNATURE], BODY, NOW), repeated);
    assert_eq!(check(&[ID], &[&now], &[SIGNATURE, SIGNATURE], BODY, NOW), repeated);
}

#[rstest]
#[case("")]
#[case("msg_.0001")]
#[case("msg 1")]
#[case("msg_\u{0}")]
#[case("müsli")]
#[case(&"x".repeat(256))]
fn an_id_that_no_sender_gives_is_refused(#[case] id: &str) {
    let signature = secret().sign(id, NOW, BODY);
    let checked = check(&[id], &[&NOW.to_string()], &[&signature], BODY, NOW);
    assert_eq!(checked, Err(SignatureError::MalformedId));
}

#[rstest]
#[case("")]
#[case("soon")]
#[case("-1767225600")]
#[case("+1767225600")]
#[case(" 1767225600")]
#[case("1767225600 ")]
#[case("1767225600.0")]
#[case("00000000001767225600")]
#[case("9999999999999999999")]
fn a_timestamp_is_plain_digits(#[case] timestamp: &str) {
    let checked = check(&[ID], &[timestamp], &[SIGNATURE], BODY, NOW);
    assert_eq!(checked, Err(SignatureError::MalformedTimestamp));
}

#[rstest]
#[case::empty("")]
#[case::without_a_version("XvOPs8Dzia1qDs6HPAEKq0wjwFUOfyRgs60wq0m7a9Q=")]
#[case::not_base64("v1,!!!!")]
#[case::too_short("v1,XvOPs8Dz")]
#[case::too_long("v1,XvOPs8Dzia1qDs6HPAEKq0wjwFUOfyRgs60wq0m7a9RXvOPs8Dz")]
#[case::only_unknown_versions(
    "v1a,XvOPs8Dzia1qDs6HPAEKq0wjwFUOfyRgs60wq0m7a9Q= v2,XvOPs8Dzia1qDs6HPAEKq0wjwFUOfyRgs60wq0m7a9Q="
)]
#[case::too_many(&[SIGNATURE; MAX_SIGNATURES + 1].join(" "))]
fn what_can_be_no_signature_is_refused(#[case] signature: &str) {
    assert_eq!(check_signature(signature), Err(SignatureError::MalformedSignature));
}

#[test]
fn one_good_signature_among_others_is_enough() {
    let other = Secret::parse("whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3").unwrap();
    let foreign = other.sign(ID, NOW, BODY);
    assert_eq!(check_signature(&foreign), Err(SignatureError::BadSignature));
    assert_eq!(check_signature(&format!("{foreign} {SIGNATURE}")), Ok(()));
    assert_eq!(check_signature(&format!("v2,AAAA v1,!! {SIGNATURE}")), Ok(()));
}

#[test]
fn id_timestamp_and_body_are_all_signed() {
    let bad = Err(SignatureError::BadSignature);
    let now = NOW.to_string();
    assert_eq!(check(&["msg_test0002"], &[&now], &[SIGNATURE], BODY, NOW), bad);
    assert_eq!(check(&[ID], &[&(NOW + 1).to_string()], &[SIGNATURE], BODY, NOW), bad);
    assert_eq!(check(&[ID], &[&now], &[SIGNATURE], &BODY[1..], NOW), bad);
    assert_eq!(check(&[ID], &[&now], &[SIGNATURE], b"", NOW), bad);
    let spaced = br#"{"type": "user.created", "data": {"id": "user_1"}}"#;
    assert_eq!(check(&[ID], &[&now], &[SIGNATURE], spaced, NOW), bad);
}

#[test]
fn an_empty_body_and_one_that_is_no_text_can_be_signed() {
    for body in [&b""[..], &[0xff, 0xfe, 0x00]] {
        let signature = secret().sign(ID, NOW, body);
        assert_eq!(check(&[ID], &[&NOW.to_string()], &[&signature], body, NOW), Ok(()));
    }
}

#[rstest]
#[case("whsec_!!!", SecretError::NotBase64)]
#[case("", SecretError::TooShort(0))]
#[case("whsec_", SecretError::TooShort(0))]
#[case("whsec_c2hvcnQ=", SecretError::TooShort(5))]
fn a_secret_that_cannot_be_the_providers_is_refused(
    #[case] text: &str,
    #[case] expected: SecretError,
) {
    assert_eq!(Secret::parse(text).err(), Some(expected));
}

#[test]
fn a_secret_is_never_shown() {
    assert_eq!(format!("{:?}", secret()), "Secret");
    assert!(Secret::parse(&format!(" {SECRET}\n")).is_ok());
}

proptest! {
    #[test]
    fn one_changed_byte_of_the_body_is_noticed(position in 0..BODY.len(), bit in 0..8_u8) {
        let mut body = BODY.to_vec();
        body[position] ^= 1 << bit;
        let checked = check(&[ID], &[&NOW.to_string()], &[SIGNATURE], &body, NOW);
        prop_assert_eq!(checked, Err(SignatureError::BadSignature));
    }

    #[test]
    fn junk_in_the_headers_never_panics(
        id in prop::collection::vec(any::<u8>(), 0..40),
        timestamp in prop::collection::vec(any::<u8>(), 0..24),
        signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let headers = SignedHeaders {
            ids: vec![&id], timestamps: vec![&timestamp], signatures: vec![&signature],
        };
        prop_assert!(verify(&secret(), &headers, BODY, NOW).is_err());
    }
}
