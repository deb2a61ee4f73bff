//! Proves that a webhook comes from our Telnyx account. The signature covers the text of the
//! timestamp header, a `|` and the raw body; it names the account, not the tenant. Scheme:
//! <https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Carries the Ed25519 signature: 64 bytes in standard base64.
pub const SIGNATURE_HEADER: &str = "telnyx-signature-ed25519";

/// Carries the time of signing: Unix seconds in decimal digits.
pub const TIMESTAMP_HEADER: &str = "telnyx-timestamp";

/// How far the timestamp may lie from our clock, in seconds, in either direction. The provider's
/// own libraries use the same number.
pub const TOLERANCE_SECONDS: i64 = 300;

/// `i64::MAX` has 19 digits, so a longer timestamp cannot be one even with leading zeros.
const MAX_TIMESTAMP_DIGITS: usize = 19;

const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// Every encoding, sign bit cleared, of a curve point whose order divides the cofactor 8 (RFC 8032,
/// section 5.1). Under such a key anyone can sign, and ring does not refuse it. The first one is a
/// key left at all zeros.
const SMALL_ORDER_KEYS: [&str; 7] = [
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "JuiVj8KyJ7BFw/SJ8u+Y8NXfrAXTxjM5sTgCiG1T/AU=",
    "xxdqcD1N2E+6PAt2DRBnDyogU/osOczGTsf9d5KsA3o=",
    "7P///////////////////////////////////////38=",
    "7f///////////////////////////////////////38=",
    "7v///////////////////////////////////////38=",
];

/// Why a webhook is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature or the timestamp header is missing")]
    MissingHeader,
    #[error("the signature or the timestamp header is there more than once")]
    RepeatedHeader,
    #[error("the timestamp is not a plain number of seconds")]
    MalformedTimestamp,
    #[error("the signature is not 64 bytes in standard base64")]
    MalformedSignature,
    #[error("the timestamp is more than {TOLERANCE_SECONDS} seconds away from our clock")]
    OutsideTolerance,
    #[error("the signature does not fit the key, the timestamp and the body")]
    BadSignature,
}

impl SignatureError {
    /// The reason as a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::RepeatedHeader => "repeated_header",
            Self::MalformedTimestamp => "malformed_timestamp",
            Self::MalformedSignature => "malformed_signature",
            Self::OutsideTolerance => "outside_tolerance",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// Why a configured key cannot be used. No variant shows the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key is not standard base64")]
    NotBase64,
    #[error("the key has {0} bytes, not {KEY_BYTES}")]
    Length(usize),
    #[error("the key is a placeholder or a point under which anyone can sign")]
    Weak,
}

/// The account's public key: the raw 32 bytes of an Ed25519 key, one for all messaging profiles and
/// numbers of the account.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Reads the key as the provider's portal shows it (Keys & Credentials, Public Key): standard
    /// base64 without PEM or DER around it. White space at the ends is ignored, because keys come
    /// from files.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for other encodings and lengths, and for keys of small order such as 32 zero
    /// bytes.
    pub fn from_base64(text: &str) -> Result<PublicKey, KeyError> {
        let bytes = key_bytes(text)?;
        let mut unsigned = bytes;
        unsigned[KEY_BYTES - 1] &= 0x7f;
        if SMALL_ORDER_KEYS.contains(&STANDARD.encode(unsigned).as_str()) {
            return Err(KeyError::Weak);
        }
        Ok(PublicKey(bytes))
    }

    /// The inverse of [`PublicKey::from_base64`].
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("PublicKey").field(&self.to_base64()).finish()
    }
}

/// Checks one webhook. `signatures` and `timestamps` are all values of the two headers as raw
/// bytes, in order; `body` is the request body before any parsing; `now_unix_seconds` is our clock.
///
/// # Errors
///
/// [`SignatureError`], found in this order: headers, timestamp, tolerance, form of the signature,
/// and the curve operation last, so that junk costs us no cryptography.
pub fn verify<'a>(
    key: &PublicKey,
    signatures: impl IntoIterator<Item = &'a [u8]>,
    timestamps: impl IntoIterator<Item = &'a [u8]>,
    body: &[u8],
    now_unix_seconds: i64,
) -> Result<(), SignatureError> {
    let signature = only_value(signatures)?;
    let timestamp = only_value(timestamps)?;
    if unix_seconds(timestamp)?.abs_diff(now_unix_seconds) > TOLERANCE_SECONDS.unsigned_abs() {
        return Err(SignatureError::OutsideTolerance);
    }
    let signature = signature_bytes(signature)?;
    UnparsedPublicKey::new(&ED25519, &key.0)
        .verify(&signed_bytes(timestamp, body), &signature)
        .map_err(|_| SignatureError::BadSignature)
}

/// Signs webhooks the way the provider does, for the demo, for `narthex simulate sms` and for
/// tests.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Builds the key pair of a 32-byte private seed (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    ///
    /// [`KeyError::Length`], which a seed of this type does not cause today.
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Result<SigningKey, KeyError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Length(seed.len()))?;
        let public = pair.public_key().as_ref();
        let public =
            public.try_into().map(PublicKey).map_err(|_| KeyError::Length(public.len()))?;
        Ok(SigningKey { pair, public })
    }

    /// Builds the key pair of a seed in standard base64.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the text is not base64 of 32 bytes.
    pub fn from_base64(text: &str) -> Result<SigningKey, KeyError> {
        SigningKey::from_seed(&key_bytes(text)?)
    }

    /// The half to configure at the receiver.
    pub fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    /// Signs `body` as sent at `timestamp` (Unix seconds) and returns the value for
    /// [`SIGNATURE_HEADER`]. The timestamp header has to carry the same number in plain decimal
    /// digits.
    pub fn sign(&self, timestamp: i64, body: &[u8]) -> String {
        let message = signed_bytes(timestamp.to_string().as_bytes(), body);
        STANDARD.encode(self.pair.sign(&message))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

fn key_bytes(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    let bytes = STANDARD.decode(text.trim_ascii()).map_err(|_| KeyError::NotBase64)?;
    bytes.try_into().map_err(|bytes: Vec<u8>| KeyError::Length(bytes.len()))
}

/// Two values would let a proxy in between and this check disagree about which one counts.
fn only_value<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<&'a [u8], SignatureError> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(SignatureError::MissingHeader)?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(SignatureError::RepeatedHeader),
    }
}

/// Stricter than `str::parse`, which takes a leading `+` or `-`.
fn unix_seconds(text: &[u8]) -> Result<i64, SignatureError> {
    if text.len() > MAX_TIMESTAMP_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return Err(SignatureError::MalformedTimestamp);
    }
    let digits = std::str::from_utf8(text).map_err(|_| SignatureError::MalformedTimestamp)?;
    digits.parse().map_err(|_| SignatureError::MalformedTimestamp)
}

fn signature_bytes(text: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignatureError> {
    if text.len() != SIGNATURE_BYTES.div_ceil(3) * 4 {
        return Err(SignatureError::MalformedSignature);
    }
    let bytes = STANDARD.decode(text).map_err(|_| SignatureError::MalformedSignature)?;
    bytes.try_into().map_err(|_| SignatureError::MalformedSignature)
}

fn signed_bytes(timestamp: &[u8], body: &[u8]) -> Vec<u8> {
    [timestamp, b"|", body].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const SEED: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const PUBLIC: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    const BODY: &[u8] = br#"{"data":{"event_type":"message.received","id":"11111111-2222-4333-8444-555555555555"}}"#;
    const SENT_AT: i64 = 1_767_225_600;
    const TIMESTAMP: &[u8] = b"1767225600";
    const SIGNATURE: &[u8] =
        b"8rlLJehfXCdzAtnH1/E5WgJGVAyJZmPZx8BFbhoPKtKrMGy8/+pi5XuKG5aseHJsB6VjSHT+Wwwc9SRZvuU0Cw==";

    /// One delivery, good as it stands, for each case to spoil.
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
    #[case::one_byte_changed(br#"{"data":{"event_type":"message.received","id":"11111111-2222-4333-8444-555555555556"}}"#)]
    #[case::written_out_again(br#"{"data": {"event_type": "message.received", "id": "11111111-2222-4333-8444-555555555555"}}"#)]
    #[case::members_reordered(br#"{"data":{"id":"11111111-2222-4333-8444-555555555555","event_type":"message.received"}}"#)]
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
        // Signed as it stands, so that only the form is wrong.
        let signature = signature_over(&[timestamp, b"|", BODY].concat());
        let delivery = Delivery {
            signatures: vec![signature.as_bytes()],
            timestamps: vec![timestamp],
            ..good()
        };
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

    /// Adding the group order to the scalar half gives a second signature that a careless verifier
    /// accepts (RFC 8032, section 8.4).
    #[test]
    fn refuses_a_malleated_signature() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
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
}
