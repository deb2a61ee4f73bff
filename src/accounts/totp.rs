//! One-time codes by time (RFC 6238) of an authenticator app, and the recovery codes for whoever has lost theirs.

use chrono::{DateTime, Utc};
use ring::digest;
use totp_rs::{Builder, Secret, Totp};

use crate::sealing::{Sealer, SealingError};

/// RFC 4226, section 4: 160 bits are recommended.
const SECRET_BYTES: usize = 20;
/// A code is good one step before and after its own: clocks differ, and people type slowly.
const SKEW: u16 = 1;
/// Seconds. Apps know no other with certainty, as they know no other digest than SHA-1 and no other length than 6.
const STEP: u64 = 30;
/// How many recovery codes somebody gets.
const RECOVERY_CODES: usize = 10;
/// 80 bits each: nobody guesses them against their SHA-256 either.
const RECOVERY_BYTES: usize = 10;

/// What an authenticator app and we share.
pub(crate) struct TotpSecret(Vec<u8>);

impl TotpSecret {
    pub fn generate(sealer: &Sealer) -> Result<Self, SealingError> {
        Ok(Self(sealer.random_bytes::<SECRET_BYTES>()?.to_vec()))
    }

    /// As it was kept.
    pub fn of_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// For whoever types it in.
    pub fn to_text(&self) -> String {
        Secret::from(self.0.as_slice()).to_base32()
    }

    /// For whoever scans it. The names are shown by the app, without the colon that would divide them.
    pub fn url(&self, issuer: &str, account: &str) -> Option<String> {
        let plain = |text: &str| text.replace(':', " ");
        let named = self.totp().with_issuer(Some(plain(issuer))).with_account_name(plain(account));
        named.build().ok()?.to_url().ok()
    }

    /// The step of a code that is good now and belongs to a later step than `last`. No code is good twice.
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

/// Codes for whoever has lost their app, each good once, in the form `xxxx-xxxx-xxxx-xxxx`.
pub(crate) fn recovery_codes(sealer: &Sealer) -> Result<Vec<String>, SealingError> {
    let code = || {
        let text = Secret::from(sealer.random_bytes::<RECOVERY_BYTES>()?.as_slice()).to_base32();
        let parts: Vec<_> = text.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
        Ok(parts.join("-").to_ascii_lowercase())
    };
    (0..RECOVERY_CODES).map(|_| code()).collect()
}

/// By which a recovery code is known. However it is written: hyphens, spaces and case do not count.
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

    /// RFC 6238, appendix B, the last six of its eight digits.
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
