//! A second factor: codes that change each half minute (RFC 6238). Invariant: a code is good once, and the step it was
//! of never comes back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use totp_rs::{Builder, Secret, Totp};

use super::random;
use crate::console::fault::Fault;

/// What an authenticator shows beside the codes.
const ISSUER: &str = "Seatbeat";

/// A second factor as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTotp {
    secret: [u8; 20],
    /// The newest step that a code was taken of.
    last_step: u64,
}

/// What an authenticator is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enrolment {
    /// `otpauth://…`, mostly shown as a picture.
    pub url: String,
    /// The same secret, to be typed in.
    pub secret: String,
}

impl KeptTotp {
    /// A new one: 160 random bits.
    pub fn random() -> Self {
        Self { secret: random(), last_step: 0 }
    }

    /// What is told to the owner's authenticator.
    ///
    /// # Errors
    /// When the name cannot stand in an address.
    pub fn enrolment(&self, login: &str) -> Result<Enrolment, Fault> {
        let totp = self.totp(login)?;
        let url = totp.to_url().map_err(|error| Fault::value("the login name", error))?;
        Ok(Enrolment { url, secret: totp.secret().to_base32() })
    }

    /// Takes a code of now, of the step before or of the one behind; one that was taken is none any more.
    pub fn take(&mut self, code: &str, now: Timestamp) -> bool {
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let step = self.totp("-").ok().filter(|_| is_code).and_then(|totp| totp.check(&code, seconds));
        match step {
            Some(step) if step > self.last_step => {
                self.last_step = step;
                true
            }
            _ => false,
        }
    }

    fn totp(&self, login: &str) -> Result<Totp, Fault> {
        Builder::new()
            .with_secret(Secret::new_stack(self.secret))
            .with_account_name(login)
            .with_issuer(Some(ISSUER))
            .build()
            .map_err(|error| Fault::value("the second factor", error))
    }

    /// The code of an instant, as an authenticator shows it.
    #[cfg(test)]
    pub fn code(&self, at: Timestamp) -> String {
        self.totp("-").unwrap().generate(u64::try_from(at.as_second()).unwrap()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// RFC 6238, appendix B: the last six digits of its eight, SHA-1.
    #[test]
    fn codes_are_those_of_the_standard() {
        for (second, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            let mut kept = KeptTotp { secret: *b"12345678901234567890", last_step: 0 };
            assert!(kept.take(code, at(second)), "{second}");
        }
    }

    #[test]
    fn a_code_is_good_once_and_a_step_around_now() {
        let mut kept = KeptTotp::random();
        let now = at(1_800_000_000);
        let code = kept.code(now);
        assert!(kept.clone().take(&code, now + SignedDuration::from_secs(30)));
        assert!(kept.clone().take(&code, now - SignedDuration::from_secs(30)));
        assert!(!kept.clone().take(&code, now + SignedDuration::from_secs(90)));
        assert!(kept.take(&format!("{} {}", &code[..3], &code[3..]), now));
        assert!(!kept.take(&code, now), "it was taken");
        let before = kept.code(now - SignedDuration::from_secs(30));
        assert!(!kept.take(&before, now), "an older step does not come back");
        assert!(!kept.take("", now) && !kept.take("12345", now) && !kept.take("１２３４５６", now));
    }

    #[test]
    fn an_authenticator_is_told_whose_codes_they_are() {
        let told = KeptTotp::random().enrolment("tess@example").unwrap();
        assert!(told.url.starts_with("otpauth://totp/Seatbeat:tess%40example?"), "{}", told.url);
        assert!(told.url.contains(&told.secret));
    }
}
