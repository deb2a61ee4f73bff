//! Time-based one-time codes (RFC 6238) of an authenticator app, and recovery codes for users who
//! have lost the app.

use chrono::{DateTime, Utc};
use ring::digest;
use totp_rs::{Builder, Secret, Totp};

use crate::sealing::{Sealer, SealingError};

/// In bytes. RFC 4226, section 4, recommends 160 bits.
const SECRET_BYTES: usize = 20;
/// A code is also accepted one step before and after its own, because clocks differ and people type
/// slowly.
const SKEW: u16 = 1;
/// In seconds. Not all apps support another step, another digest than SHA-1, or another length than
/// 6 digits.
const STEP: u64 = 30;
/// Number of recovery codes for each account.
const RECOVERY_CODES: usize = 10;
/// 80 bits each: too many to guess, even from their SHA-256.
const RECOVERY_BYTES: usize = 10;

/// The secret shared with an authenticator app.
pub(crate) struct TotpSecret(Vec<u8>);

impl TotpSecret {
    pub fn generate(sealer: &Sealer) -> Result<Self, SealingError> {
        Ok(Self(sealer.random_bytes::<SECRET_BYTES>()?.to_vec()))
    }

    /// Restores a stored secret.
    pub fn of_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret in base32, to be typed in.
    pub fn to_text(&self) -> String {
        Secret::from(self.0.as_slice()).to_base32()
    }

    /// The `otpauth://` URL for a QR code. The app shows both names; colons are removed from them,
    /// because a colon separates them.
    pub fn url(&self, issuer: &str, account: &str) -> Option<String> {
        let plain = |text: &str| text.replace(':', " ");
        let named = self.totp().with_issuer(Some(plain(issuer))).with_account_name(plain(account));
        named.build().ok()?.to_url().ok()
    }

    /// The step of a code that is valid now and belongs to a later step than `last`. `last` makes
    /// each code valid only once.
    pub fn step_of(&self, code: &str, last: i64, now: DateTime<Utc>) -> Option<i64> {
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let totp: Totp = self.totp().build_noncompliant();
        let step = totp.check(&code, u64::try_from(now.timestamp()).ok()?)?;
        i64::try_from(step).ok().filter(|step| *step > last)
    }

    fn totp(&self) -> Builder {
        Builder::new().with_secret(self.0.as_slice()).with_skew(SKEW).with_step_duration(STEP)
    }
}

/// Creates recovery codes, each valid once, in the form `xxxx-xxxx-xxxx-xxxx`.
pub(crate) fn recovery_codes(sealer: &Sealer) -> Result<Vec<String>, SealingError> {
    let code = || {
        let text = Secret::from(sealer.random_bytes::<RECOVERY_BYTES>()?.as_slice()).to_base32();
        let parts: Vec<_> = text.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
        Ok(parts.join("-").to_ascii_lowercase())
    };
    (0..RECOVERY_CODES).map(|_| code()).collect()
}

/// The hash by which a recovery code is stored. Hyphens, spaces and case are ignored.
pub(crate) fn recovery_hash(code: &str) -> Vec<u8> {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    digest::digest(&digest::SHA256, plain.to_ascii_lowercase().as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// Values from RFC 6238, appendix B: the last six of the eight digits.
    #[rstest]
    #[case(59, "287082")]
    #[case(1_111_111_109, "081804")]
    #[case(1_111_111_111, "050471")]
    #[case(1_234_567_890, "005924")]
    #[case(2_000_000_000, "279037")]
    #[case(20_000_000_000, "353130")]
    fn codes_are_those_of_the_standard(#[case] time: i64, #[case] code: &str) {
        let secret = TotpSecret::of_bytes(b"12345678901234567890".to_vec());
        assert_eq!(secret.step_of(code, 0, at(time)), Some(time / 30));
        assert_eq!(secret.step_of(code, 0, at(time + 30)), Some(time / 30));
        assert_eq!(secret.step_of(code, 0, at(time + 60)), None);
        assert_eq!(secret.step_of(code, time / 30, at(time)), None, "it was good once");
    }

    #[rstest]
    #[case("")]
    #[case("28708")]
    #[case("2870820")]
    #[case("28708a")]
    #[case("-87082")]
    #[case("２８７０８２")]
    fn what_is_no_code_is_none(#[case] code: &str) {
        let secret = TotpSecret::of_bytes(b"12345678901234567890".to_vec());
        assert_eq!(secret.step_of(code, 0, at(59)), None);
    }

    #[test]
    fn the_url_is_what_apps_read() {
        let secret = TotpSecret::of_bytes(b"12345678901234567890".to_vec());
        let url = secret.url("Grace: Church", "ada@example.org").unwrap();
        assert!(url.starts_with("otpauth://totp/Grace%20%20Church:ada%40example.org?"), "{url}");
        assert!(url.contains("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), "{url}");
        assert!(url.contains("issuer=Grace"), "{url}");
    }

    #[test]
    fn recovery_codes_differ_and_are_read_however_they_are_written() {
        let sealer = Sealer::with_key(&[7; 32]).unwrap();
        let codes = recovery_codes(&sealer).unwrap();
        let distinct: std::collections::BTreeSet<_> = codes.iter().collect();
        assert_eq!(distinct.len(), RECOVERY_CODES);
        for code in &codes {
            assert_eq!(code.len(), 19, "{code}");
            let loose = code.to_uppercase().replace('-', " ");
            assert_eq!(recovery_hash(code), recovery_hash(&loose));
        }
        assert_ne!(recovery_hash(&codes[0]), recovery_hash(&codes[1]));
    }
}
