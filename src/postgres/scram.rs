//! SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677), in PostgreSQL's storage format. With a verifier,
//! neither the server nor a log of its statements sees a role's password in clear.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// Iterations make guesses at a password expensive. 192 random bits cannot be guessed, so more
/// iterations would only cost time at each opening of a connection, on both sides.
pub(super) const OF_A_RANDOM_PASSWORD: NonZeroU32 = NonZeroU32::new(1).unwrap();

/// The verifier of `password`, which must be plain ASCII (SASLprep changes nothing in it).
pub(super) fn verifier(password: &str, salt: &[u8; 16], iterations: NonZeroU32) -> String {
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${iterations}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored_key),
        STANDARD.encode(server_key)
    )
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    /// The exchange of RFC 7677, section 3: password `pencil`, its salt, 4096 iterations. The keys
    /// follow from that exchange's messages and were recomputed with an independent implementation.
    #[test]
    fn the_verifier_of_the_published_exchange() {
        let salt = b"[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81";
        assert_eq!(
            super::verifier("pencil", salt, NonZeroU32::new(4096).unwrap()),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }
}
