//! Passwords as they are kept: Argon2id with a salt of their own. Invariant: checking costs the same whether the name
//! is known or not, and no more than two are checked at once, so that memory stays bounded.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::random;
use crate::console::fault::Fault;

/// OWASP's second set: 19 MiB, two passes, one lane.
const COST: Cost = Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1 };

/// Most that a kept password may cost to check, so that a damaged row cannot take all memory.
const MEMORY_KIB_MAX: u32 = 256 * 1024;

/// Passwords checked at once: 38 MiB.
pub const CHECKS_MAX: usize = 2;

/// Shortest password in characters: there is no second factor unless its owner wants one.
const LENGTH_MIN: usize = 12;

/// Longest in bytes: a paragraph.
pub const BYTES_MAX: usize = 256;

/// What a check costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// A password as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPassword {
    cost: Cost,
    salt: [u8; 16],
    hash: [u8; 32],
}

impl KeptPassword {
    /// Of a new password.
    ///
    /// # Errors
    /// When it cannot be computed.
    pub fn of(password: &str) -> Result<Self, Fault> {
        let salt = random();
        Ok(Self { cost: COST, salt, hash: computed(COST, &salt, password)? })
    }

    /// One that no password fits, to be checked where a name is not known.
    pub fn nobodys() -> Self {
        Self { cost: COST, salt: [0; 16], hash: [0; 32] }
    }

    /// Whether this is the password.
    ///
    /// # Errors
    /// When it cannot be computed.
    pub fn is(&self, password: &str) -> Result<bool, Fault> {
        Ok(computed(self.cost, &self.salt, password)?.ct_eq(&self.hash).into())
    }
}

fn computed(cost: Cost, salt: &[u8], password: &str) -> Result<[u8; 32], Fault> {
    let unusable =
        |error: argon2::Error| Fault::value("the kept password", format!("cannot be checked: {error}"));
    let memory_kib = cost.memory_kib.min(MEMORY_KIB_MAX);
    let params = Params::new(memory_kib, cost.passes, cost.lanes, Some(32)).map_err(unusable)?;
    let mut hash = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, hash.as_mut())
        .map_err(unusable)?;
    Ok(*hash)
}

/// Whether a password can be one.
///
/// # Errors
/// When it is too short, too long, or little more than the name.
pub fn checked(login: &str, password: &str) -> Result<(), Fault> {
    let refused = |why: String| Err(Fault::value("the password", why));
    if password.chars().count() < LENGTH_MIN {
        return refused(format!("is shorter than {LENGTH_MIN} characters"));
    }
    if password.len() > BYTES_MAX {
        return refused(format!("is longer than {BYTES_MAX} bytes"));
    }
    let mut letters = password.chars();
    let first = letters.next();
    if letters.all(|letter| Some(letter) == first) {
        return refused("is one character over and over".to_owned());
    }
    if !login.is_empty() && password.to_lowercase().replace(login, "").chars().count() < LENGTH_MIN / 2 {
        return refused("is little more than the name".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_kept_under_a_salt_of_its_own() {
        let kept = KeptPassword::of("correct horse battery").unwrap();
        assert!(kept.is("correct horse battery").unwrap());
        assert!(!kept.is("correct horse batterz").unwrap() && !kept.is("").unwrap());
        assert!(kept != KeptPassword::of("correct horse battery").unwrap());
        assert!(!KeptPassword::nobodys().is("correct horse battery").unwrap());
        let text = serde_json::to_string(&kept).unwrap();
        assert!(!text.contains("horse"));
        assert!(serde_json::from_str::<KeptPassword>(&text).unwrap() == kept);
    }

    /// The reference of RFC 9106's Argon2id by another implementation (`argon2` of the reference library).
    #[test]
    fn it_is_argon2id() {
        let cost = Cost { memory_kib: 65_536, passes: 2, lanes: 1 };
        let hash = computed(cost, b"somesalt", "password").unwrap();
        let hex = seatbeat_proto::hex::format(&hash);
        assert_eq!(hex, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7");
    }

    #[test]
    fn what_is_easily_guessed_is_no_password() {
        for wrong in ["short", "elevenchars", "aaaaaaaaaaaaaaaa", "tess.example1", &"x y".repeat(100)] {
            assert!(checked("tess.example", wrong).is_err(), "{wrong}");
        }
        checked("tess", "twelve chars").unwrap();
        checked("", "pässwörter sind länger").unwrap();
    }
}
