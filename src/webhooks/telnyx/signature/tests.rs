use proptest::prelude::*;
use rstest::rstest;

use super::*;

const SEED: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PUBLIC: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const BODY: &[u8] =
    br#"{"data":{"event_type":"message.received","id":"11111111-2222-4333-8444-555555555555"}}"#;
const SENT_AT: i64 = 1_767_225_600;
const TIMESTAMP: &[u8] = b"1767225600";
const SIGNATURE: &[u8] =
    b"8rlLJehfXCdzAtnH1/E5WgJGVAyJZmPZx8BFbhoPKtKrMGy8/+pi5XuKG5aseHJsB6VjSHT+Wwwc9SRZvuU0Cw==";

/// One valid delivery, which each case spoils in one way.
struct Delivery<'a> {
    key: PublicKey,
    signatures: Vec<&'a [u8]>,
    timestamps: Vec<&'a [u8]>,
    body: &'a [u8],
    now: i64,
}

impl Delivery<'_> {
    fn verify(&self) -> Result<(), SignatureError> {
        let (signatures, timestamps) =
            (self.signatures.iter().copied(), self.timestamps.iter().copied());
        verify(&self.key, signatures, timestamps, self.body, self.now)
    }
}

fn good<'a>() -> Delivery<'a> {
    Delivery {
        key: PublicKey::from_base64(PUBLIC).unwrap(),
        signatures: vec![SIGNATURE],
        timestamps: vec![TIMESTAMP],
        body: BODY,
        now: SENT_AT,
    }
}

fn signer() -> SigningKey {
    SigningKey::from_base64(SEED).unwrap()
}

fn signature_over(message: &[u8]) -> String {
    STANDARD.encode(signer().pair.sign(message))
}

#[test]
fn accepts_the_known_signature() {
    assert_eq!(BODY.len(), 86);
    assert_eq!(good().verify(), Ok(()));
}

#[test]
fn accepts_the_same_delivery_again() {
    let delivery = good();
    assert_eq!((delivery.verify(), delivery.verify()), (Ok(()), Ok(())));
}

#[test]
fn signs_as_the_provider_does() {
    assert_eq!(signer().sign(SENT_AT, BODY).as_bytes(), SIGNATURE);
    assert_eq!(signer().public_key().to_base64(), PUBLIC);
    let seed: [u8; 32] = std::array::from_fn(|index| index as u8);
    assert_eq!(SigningKey::from_seed(&seed).unwrap().public_key(), signer().public_key());
}

#[test]
fn header_names_fit_the_http_library() {
    for name in [SIGNATURE_HEADER, TIMESTAMP_HEADER] {
        assert_eq!(name, name.to_ascii_lowercase());
    }
}

#[rstest]
#[case::at_once(0, Ok(()))]
#[case::old_but_in_time(300, Ok(()))]
#[case::too_old(301, Err(SignatureError::OutsideTolerance))]
#[case::ahead_but_in_time(-300, Ok(()))]
#[case::too_far_ahead(-301, Err(SignatureError::OutsideTolerance))]
fn bounds_the_age(#[case] age: i64, #[case] expected: Result<(), SignatureError>) {
    assert_eq!(Delivery { now: SENT_AT + age, ..good() }.verify(), expected);
}

#[rstest]
#[case::far_past(b"9223372036854775807", i64::MIN)]
#[case::far_future(b"0", i64::MAX)]
#[case::negative_clock(b"9223372036854775807", -1)]
fn extreme_clocks_do_not_overflow(#[case] timestamp: &[u8], #[case] now: i64) {
    let delivery = Delivery { timestamps: vec![timestamp], now, ..good() };
    assert_eq!(delivery.verify(), Err(SignatureError::OutsideTolerance));
}

#[rstest]
#[case::one_byte_changed(
    br#"{"data":{"event_type":"message.received","id":"11111111-2222-4333-8444-555555555556"}}"#
)]
#[case::written_out_again(br#"{"data": {"event_type": "message.received", "id": "11111111-2222-4333-8444-555555555555"}}"#)]
#[case::members_reordered(
    br#"{"data":{"id":"11111111-2222-4333-8444-555555555555","event_type":"message.received"}}"#
)]
#[case::newline_added(b"{\"data\":{\"event_type\":\"message.received\",\"id\":\"11111111-2222-4333-8444-555555555555\"}}\n")]
#[case::empty(b"")]
#[case::not_utf8(b"\xff\xfe{}")]
fn refuses_another_body(#[case] body: &[u8]) {
    assert_eq!(Delivery { body, ..good() }.verify(), Err(SignatureError::BadSignature));
}

#[rstest]
#[case::empty(b"")]
#[case::not_utf8(b"\xff\xfe\x00{}")]
#[case::with_the_separator(b"1767225600|{}")]
fn accepts_any_bytes_that_were_signed(#[case] body: &[u8]) {
    let signature = signature_over(&[TIMESTAMP, b"|", body].concat());
    let delivery = Delivery { signatures: vec![signature.as_bytes()], body, ..good() };
    assert_eq!(delivery.verify(), Ok(()));
}

#[test]
fn refuses_another_timestamp() {
    let delivery = Delivery { timestamps: vec![b"1767225601"], ..good() };
    assert_eq!(delivery.verify(), Err(SignatureError::BadSignature));
}

#[test]
fn signs_the_timestamp_as_text() {
    let zeros = Delivery { timestamps: vec![b"0001767225600"], ..good() };
    assert_eq!(zeros.verify(), Err(SignatureError::BadSignature));
    let signature = signature_over(&[b"0001767225600|", BODY].concat());
    let delivery = Delivery { signatures: vec![signature.as_bytes()], ..zeros };
    assert_eq!(delivery.verify(), Ok(()));
}

#[rstest]
#[case::no_signature(vec![], vec![TIMESTAMP], SignatureError::MissingHeader)]
#[case::no_timestamp(vec![SIGNATURE], vec![], SignatureError::MissingHeader)]
#[case::neither(vec![], vec![], SignatureError::MissingHeader)]
#[case::empty_signature(vec![b"".as_slice()], vec![TIMESTAMP], SignatureError::MalformedSignature)]
#[case::empty_timestamp(vec![SIGNATURE], vec![b"".as_slice()], SignatureError::MalformedTimestamp)]
#[case::same_signature_twice(vec![SIGNATURE, SIGNATURE], vec![TIMESTAMP], SignatureError::RepeatedHeader)]
#[case::second_signature_right(vec![b"AAAA".as_slice(), SIGNATURE], vec![TIMESTAMP], SignatureError::RepeatedHeader)]
#[case::same_timestamp_twice(vec![SIGNATURE], vec![TIMESTAMP, TIMESTAMP], SignatureError::RepeatedHeader)]
#[case::second_timestamp_right(vec![SIGNATURE], vec![b"1".as_slice(), TIMESTAMP], SignatureError::RepeatedHeader)]
fn takes_each_header_once(
    #[case] signatures: Vec<&[u8]>,
    #[case] timestamps: Vec<&[u8]>,
    #[case] expected: SignatureError,
) {
    assert_eq!(Delivery { signatures, timestamps, ..good() }.verify(), Err(expected));
}

#[rstest]
#[case::word(b"yesterday")]
#[case::negative(b"-1767225600")]
#[case::plus(b"+1767225600")]
#[case::space_before(b" 1767225600")]
#[case::space_after(b"1767225600 ")]
#[case::fraction(b"1767225600.0")]
#[case::exponent(b"1e9")]
#[case::hexadecimal(b"0x6955b900")]
#[case::joined_values(b"1767225600, 1767225600")]
#[case::not_utf8(b"176722560\xff")]
#[case::other_digits("１７６７２２５６００".as_bytes())]
#[case::beyond_i64(b"9223372036854775808")]
#[case::too_many_digits(b"00000000001767225600")]
fn refuses_a_timestamp_that_is_not_digits(#[case] timestamp: &[u8]) {
    // The signature fits this text, so that only the form is wrong.
    let signature = signature_over(&[timestamp, b"|", BODY].concat());
    let delivery =
        Delivery { signatures: vec![signature.as_bytes()], timestamps: vec![timestamp], ..good() };
    assert_eq!(delivery.verify(), Err(SignatureError::MalformedTimestamp));
}

#[rstest]
#[case::hexadecimal(&"f2".repeat(64))]
#[case::hexadecimal_of_the_right_length(&"f2".repeat(44))]
#[case::too_short(&STANDARD.encode([7; 63]))]
#[case::too_short_same_text_length(&STANDARD.encode([7; 65]))]
#[case::too_long(&STANDARD.encode([7; 66]))]
#[case::half(&STANDARD.encode([7; 32]))]
#[case::no_padding(
    "8rlLJehfXCdzAtnH1/E5WgJGVAyJZmPZx8BFbhoPKtKrMGy8/+pi5XuKG5aseHJsB6VjSHT+Wwwc9SRZvuU0Cw"
)]
#[case::url_alphabet(
    "8rlLJehfXCdzAtnH1_E5WgJGVAyJZmPZx8BFbhoPKtKrMGy8_-pi5XuKG5aseHJsB6VjSHT-Wwwc9SRZvuU0Cw=="
)]
#[case::stray_bits(
    "8rlLJehfXCdzAtnH1/E5WgJGVAyJZmPZx8BFbhoPKtKrMGy8/+pi5XuKG5aseHJsB6VjSHT+Wwwc9SRZvuU0Cx=="
)]
#[case::space(
    " 8rlLJehfXCdzAtnH1/E5WgJGVAyJZmPZx8BFbhoPKtKrMGy8/+pi5XuKG5aseHJsB6VjSHT+Wwwc9SRZvuU0Cw=="
)]
#[case::newline(
    "8rlLJehfXCdzAtnH1/E5WgJGVAyJZmPZx8BFbhoPKtKrMGy8/+pi5XuKG5aseHJsB6VjSHT+Wwwc9SRZvuU0Cw==\n"
)]
#[case::versioned(
    "v1a,8rlLJehfXCdzAtnH1/E5WgJGVAyJZmPZx8BFbhoPKtKrMGy8/+pi5XuKG5aseHJsB6VjSHT+Wwwc9SRZvuU0Cw=="
)]
#[case::joined_values(&[SIGNATURE, SIGNATURE].map(|text| str::from_utf8(text).unwrap()).join(","))]
fn refuses_a_signature_of_another_form(#[case] signature: &str) {
    let delivery = Delivery { signatures: vec![signature.as_bytes()], ..good() };
    assert_eq!(delivery.verify(), Err(SignatureError::MalformedSignature));
}

#[test]
fn refuses_a_signature_that_is_not_text() {
    let mut signature = SIGNATURE.to_vec();
    signature[10] = 0xff;
    let delivery = Delivery { signatures: vec![&signature], ..good() };
    assert_eq!(delivery.verify(), Err(SignatureError::MalformedSignature));
}

#[test]
fn refuses_another_account() {
    let key = SigningKey::from_seed(&[9; 32]).unwrap().public_key();
    assert_eq!(Delivery { key, ..good() }.verify(), Err(SignatureError::BadSignature));
}

#[test]
fn checks_the_cheap_things_first() {
    let everything_wrong = Delivery { signatures: vec![b"junk"], now: SENT_AT + 301, ..good() };
    assert_eq!(everything_wrong.verify(), Err(SignatureError::OutsideTolerance));
}

/// A careless verifier accepts a second signature, whose scalar half is greater by the group order
/// (RFC 8032, section 8.4).
#[test]
fn refuses_a_malleated_signature() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut signature = STANDARD.decode(SIGNATURE).unwrap();
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    let signature = STANDARD.encode(signature);
    let delivery = Delivery { signatures: vec![signature.as_bytes()], ..good() };
    assert_eq!(delivery.verify(), Err(SignatureError::BadSignature));
}

#[rstest]
#[case::as_the_portal_shows_it(PUBLIC.to_owned(), None)]
#[case::from_a_file(format!("{PUBLIC}\r\n"), None)]
#[case::empty(String::new(), Some(KeyError::Length(0)))]
#[case::short(STANDARD.encode([1; 31]), Some(KeyError::Length(31)))]
#[case::long(STANDARD.encode([1; 33]), Some(KeyError::Length(33)))]
#[case::with_der_around_it("MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=".to_owned(), Some(KeyError::Length(44)))]
#[case::pem("-----BEGIN PUBLIC KEY-----".to_owned(), Some(KeyError::NotBase64))]
#[case::no_padding(PUBLIC.trim_end_matches('=').to_owned(), Some(KeyError::NotBase64))]
#[case::all_zeros(STANDARD.encode([0; 32]), Some(KeyError::Weak))]
fn reads_a_public_key(#[case] text: String, #[case] error: Option<KeyError>) {
    let key = PublicKey::from_base64(&text);
    assert_eq!(key.as_ref().err().copied(), error);
    assert!(key.is_err() || key.unwrap().to_base64() == PUBLIC);
}

#[test]
fn refuses_every_key_of_small_order() {
    for text in SMALL_ORDER_KEYS {
        let mut bytes = STANDARD.decode(text).unwrap();
        assert_eq!(PublicKey::from_base64(text), Err(KeyError::Weak));
        bytes[31] |= 0x80;
        assert_eq!(PublicKey::from_base64(&STANDARD.encode(bytes)), Err(KeyError::Weak));
    }
}

#[test]
fn debug_output_hides_the_private_key() {
    assert_eq!(
        format!("{:?}", signer()),
        format!("SigningKey {{ public: PublicKey({PUBLIC:?}), .. }}")
    );
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(
        signature in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            "[A-Za-z0-9+/]{85}[AQgw]==".prop_map(String::into_bytes),
        ],
        timestamp in prop_oneof![
            Just(TIMESTAMP.to_vec()),
            (0..=i64::MAX).prop_map(|seconds| seconds.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..24),
        ],
        body: Vec<u8>,
        now in prop_oneof![Just(SENT_AT), any::<i64>()],
    ) {
        let (signatures, timestamps) = (vec![signature.as_slice()], vec![timestamp.as_slice()]);
        let delivery = Delivery { signatures, timestamps, body: &body, now, ..good() };
        prop_assert!(delivery.verify().is_err());
    }

    #[test]
    fn what_we_sign_verifies(body: Vec<u8>, sent_at in 0..=i64::MAX) {
        let signature = signer().sign(sent_at, &body);
        let timestamp = sent_at.to_string();
        let delivery = Delivery {
            signatures: vec![signature.as_bytes()], timestamps: vec![timestamp.as_bytes()], body: &body, now: sent_at, ..good()
        };
        prop_assert_eq!(delivery.verify(), Ok(()));
    }

    #[test]
    fn any_changed_byte_is_refused(part in 0..3_usize, at: prop::sample::Index, change in 1..=u8::MAX) {
        let mut parts = [BODY.to_vec(), TIMESTAMP.to_vec(), SIGNATURE.to_vec()];
        let at = at.index(parts[part].len());
        parts[part][at] ^= change;
        let [body, timestamp, signature] = &parts;
        let delivery = Delivery { signatures: vec![signature], timestamps: vec![timestamp], body, ..good() };
        prop_assert!(delivery.verify().is_err());
    }
}
