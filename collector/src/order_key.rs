//! An operator's key under a passphrase: what signs orders, and what signs the next one when it is lost. Invariant: the
//! key is in clear only in the memory of whoever gave the passphrase; without it the text is worth nothing, and a text
//! that was changed opens for no passphrase.
//!
//! The passphrase becomes a key by Argon2id (RFC 9106), which seals the seed by XChaCha20-Poly1305.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey, VerifyingKey};
use seatbeat_proto::signed::{key_from_text, key_text, new_key};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub mod kept;

/// Shortest passphrase in characters: with what Argon2id costs here, no dictionary comes near four random words.
pub const PASSPHRASE_LENGTH_MIN: usize = 12;

/// Memory of one derivation in KiB, its passes and lanes: RFC 9106's second choice, on one lane. A third of a second.
const COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };

/// What a text may ask of whoever opens it.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;

const SALT_LENGTH: usize = 16;
const NONCE_LENGTH: usize = 24;

/// The format's name, part of what is sealed.
const FORMAT: &str = "seatbeat-key/1";

/// A key that only its passphrase opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedKey {
    format: String,
    /// Its public half, base64.
    public_key: String,
    cost: Cost,
    salt: String,
    nonce: String,
    sealed: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// A key that does not open, or is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Too short.
    #[error("the passphrase is shorter than {PASSPHRASE_LENGTH_MIN} characters")]
    Short,
    /// Not the one, or the text was changed.
    #[error("the passphrase does not open this key")]
    Passphrase,
    /// The text is no key.
    #[error("this is no locked key: {0}")]
    Text(String),
}

impl KeyError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Short => "take four or more random words",
            Self::Passphrase => {
                "passphrases are told apart by every letter; when it is lost, `seatbeat orders key rotate --lost` \
                 with the recovery key makes a new one"
            }
            Self::Text(_) => "`seatbeat orders key new` writes one",
        }
    }
}

impl LockedKey {
    /// A new key under a passphrase, and the key itself.
    ///
    /// # Errors
    /// When the passphrase is too short.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn make(passphrase: &str) -> Result<(Self, SigningKey), KeyError> {
        if passphrase.chars().count() < PASSPHRASE_LENGTH_MIN {
            return Err(KeyError::Short);
        }
        let key = new_key();
        let (mut salt, mut nonce) = ([0u8; SALT_LENGTH], [0u8; NONCE_LENGTH]);
        getrandom::fill(&mut salt).expect("the operating system gives random bytes");
        getrandom::fill(&mut nonce).expect("the operating system gives random bytes");
        let public_key = key_text(&key.verifying_key());
        let bound_to = bound_to(&public_key);
        let payload = Payload { msg: key.as_bytes(), aad: &bound_to };
        let sealed = cipher(passphrase, &salt, COST)?.encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.map_err(|_| KeyError::Passphrase)?;
        let [salt, nonce, sealed] = [salt.as_slice(), &nonce, &sealed].map(|bytes| STANDARD.encode(bytes));
        Ok((Self { format: FORMAT.to_owned(), public_key, cost: COST, salt, nonce, sealed }, key))
    }

    /// The key itself.
    ///
    /// # Errors
    /// When the passphrase is another one, or the text was changed.
    pub fn open(&self, passphrase: &str) -> Result<SigningKey, KeyError> {
        let bytes = |name: &str, text: &str| {
            STANDARD.decode(text).map_err(|_| KeyError::Text(format!("`{name}` is not base64")))
        };
        let (salt, nonce) = (bytes("salt", &self.salt)?, bytes("nonce", &self.nonce)?);
        if nonce.len() != NONCE_LENGTH {
            return Err(KeyError::Text(format!("`nonce` has not {NONCE_LENGTH} bytes")));
        }
        let sealed = bytes("sealed", &self.sealed)?;
        let bound_to = bound_to(&self.public_key);
        let payload = Payload { msg: &sealed, aad: &bound_to };
        let opened = cipher(passphrase, &salt, self.cost)?.decrypt(XNonce::from_slice(&nonce), payload);
        let seed = Zeroizing::new(opened.map_err(|_| KeyError::Passphrase)?);
        let seed: Zeroizing<[u8; SECRET_KEY_LENGTH]> =
            Zeroizing::new(seed.as_slice().try_into().map_err(|_| KeyError::Passphrase)?);
        let key = SigningKey::from_bytes(&seed);
        if key_text(&key.verifying_key()) == self.public_key { Ok(key) } else { Err(KeyError::Passphrase) }
    }

    /// Its public half.
    ///
    /// # Errors
    /// When the text names none.
    pub fn public(&self) -> Result<VerifyingKey, KeyError> {
        key_from_text(&self.public_key).map_err(|why| KeyError::Text(why.to_string()))
    }

    /// As it is kept.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// From what was kept.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let key: Self = serde_json::from_str(text).map_err(|error| KeyError::Text(error.to_string()))?;
        if key.format != FORMAT {
            return Err(KeyError::Text(format!("its format is `{}`, not `{FORMAT}`", key.format)));
        }
        if key.cost.memory_kib > MEMORY_KIB_MAX {
            return Err(KeyError::Text(format!("it asks for more than {MEMORY_KIB_MAX} KiB of memory")));
        }
        Ok(key)
    }
}

/// What else is under the seal.
fn bound_to(public_key: &str) -> Vec<u8> {
    [FORMAT.as_bytes(), b"\0", public_key.as_bytes()].concat()
}

fn cipher(passphrase: &str, salt: &[u8], cost: Cost) -> Result<XChaCha20Poly1305, KeyError> {
    let asked = |error: argon2::Error| KeyError::Text(format!("its cost cannot be used: {error}"));
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, None).map_err(asked)?;
    let mut key = Zeroizing::new([0u8; 32]);
    let kdf = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    kdf.hash_password_into(passphrase.as_bytes(), salt, key.as_mut()).map_err(asked)?;
    Ok(XChaCha20Poly1305::new(key.as_slice().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "correct horse battery staple";

    #[test]
    fn a_key_opens_for_its_passphrase_and_for_no_other() {
        let (locked, key) = LockedKey::make(WORDS).unwrap();
        let kept = LockedKey::from_text(&locked.to_text()).unwrap();
        assert_eq!(kept.open(WORDS).unwrap().to_bytes(), key.to_bytes());
        assert_eq!(kept.public().unwrap(), key.verifying_key());
        assert_eq!(kept.open("correct horse battery stable"), Err(KeyError::Passphrase));
        assert_eq!(LockedKey::make("short").err(), Some(KeyError::Short));
        assert!(!locked.to_text().contains(&STANDARD.encode(key.to_bytes())));
    }

    #[test]
    fn a_text_that_was_changed_opens_for_nobody() {
        let (locked, _) = LockedKey::make(WORDS).unwrap();
        let (other, _) = LockedKey::make(WORDS).unwrap();
        for changed in [
            LockedKey { public_key: other.public_key.clone(), ..locked.clone() },
            LockedKey { sealed: other.sealed, ..locked.clone() },
            LockedKey { salt: other.salt, ..locked.clone() },
            LockedKey { nonce: other.nonce, ..locked.clone() },
        ] {
            assert_eq!(changed.open(WORDS), Err(KeyError::Passphrase));
        }
        let greedy = locked.to_text().replace("65536", "2000000");
        assert!(LockedKey::from_text(&greedy).unwrap_err().to_string().contains("KiB of memory"));
        assert!(LockedKey::from_text("{}").is_err());
        let short = LockedKey { nonce: String::new(), ..locked };
        assert!(matches!(short.open(WORDS), Err(KeyError::Text(_))));
    }
}
