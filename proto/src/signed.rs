//! Signatures over bytes, each kind of payload under a domain of its own, so that no signature can be taken for
//! one over something else. Invariant: bytes are verified as they came, before they are decoded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::wire::Signed;

/// What a payload is; part of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// [`crate::wire::Evidence`], by the machine key.
    Evidence,
    /// [`crate::wire::EnrolmentClaim`], by the machine key.
    EnrolmentClaim,
    /// [`crate::wire::Order`], by the order key or the service key.
    Order,
    /// [`crate::wire::OrderKeys`], by an order key or the recovery key of the revision before.
    OrderKeys,
    /// [`crate::wire::Settings`], by the service key.
    Settings,
    /// A statement body (RFC 8785), by the statement key.
    Statement,
    /// A catalogue file, by the release key.
    Catalogue,
}

impl Domain {
    fn text(self) -> &'static [u8] {
        match self {
            Self::Evidence => b"seatbeat/v1/evidence\0",
            Self::EnrolmentClaim => b"seatbeat/v1/enrolment-claim\0",
            Self::Order => b"seatbeat/v1/order\0",
            Self::OrderKeys => b"seatbeat/v1/order-keys\0",
            Self::Settings => b"seatbeat/v1/settings\0",
            Self::Statement => b"seatbeat/v1/statement\0",
            Self::Catalogue => b"seatbeat/v1/catalogue\0",
        }
    }

    fn message(self, payload: &[u8]) -> Vec<u8> {
        [self.text(), payload].concat()
    }
}

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not belong to these bytes and this key")]
pub struct BadSignature;

/// A text that is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public key: that is 32 bytes in base64")]
pub struct BadKey;

/// Signs a payload.
pub fn sign(key: &SigningKey, domain: Domain, payload: Vec<u8>) -> Signed {
    let signature = key.sign(&domain.message(&payload)).to_bytes().to_vec();
    Signed { payload, signature }
}

/// Verifies a payload's signature (strictly: no malleable or small-order key passes).
///
/// # Errors
/// When the signature was not made by this key over this payload in this domain.
pub fn verify(key: &VerifyingKey, domain: Domain, signed: &Signed) -> Result<(), BadSignature> {
    let signature = Signature::from_slice(&signed.signature).map_err(|_| BadSignature)?;
    key.verify_strict(&domain.message(&signed.payload), &signature).map_err(|_| BadSignature)
}

/// What tells whether somebody signed: a public key, or what stands for one under simulated time.
pub trait Verifying: std::fmt::Debug {
    /// As [`verify`].
    ///
    /// # Errors
    /// As [`verify`].
    fn holds(&self, domain: Domain, signed: &Signed) -> Result<(), BadSignature>;
}

/// What signs: a secret key, or what stands for one under simulated time.
pub trait Signing: std::fmt::Debug {
    /// As [`sign`].
    fn signs(&self, domain: Domain, payload: Vec<u8>) -> Signed;

    /// What tells its signatures.
    fn verifying(&self) -> &dyn Verifying;
}

impl Verifying for VerifyingKey {
    fn holds(&self, domain: Domain, signed: &Signed) -> Result<(), BadSignature> {
        verify(self, domain, signed)
    }
}

impl Signing for SigningKey {
    fn signs(&self, domain: Domain, payload: Vec<u8>) -> Signed {
        sign(self, domain, payload)
    }

    fn verifying(&self) -> &dyn Verifying {
        AsRef::<VerifyingKey>::as_ref(self)
    }
}

/// A public key from its 32 bytes.
///
/// # Errors
/// When the bytes are no Ed25519 public key.
pub fn public_key(bytes: &[u8]) -> Result<VerifyingKey, BadSignature> {
    let bytes: &[u8; 32] = bytes.try_into().map_err(|_| BadSignature)?;
    VerifyingKey::from_bytes(bytes).map_err(|_| BadSignature)
}

/// A public key as people are shown it and type it: base64.
pub fn key_text(key: &VerifyingKey) -> String {
    STANDARD.encode(key.as_bytes())
}

/// A public key from its text.
///
/// # Errors
/// When the text is no Ed25519 public key in base64.
pub fn key_from_text(text: &str) -> Result<VerifyingKey, BadKey> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| BadKey)?;
    public_key(&bytes).map_err(|_| BadKey)
}

/// A new key.
///
/// # Panics
/// When the operating system has no randomness to give.
pub fn new_key() -> SigningKey {
    let mut seed = zeroize::Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut()).expect("the operating system gives random bytes");
    SigningKey::from_bytes(&seed)
}

/// SHA-256: the hash that links evidence, and that digests are written in.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Verifies a bare signature, outside of any domain (RFC 8032).
///
/// # Errors
/// As [`verify`].
pub fn verify_bare(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
    key.verify(message, &signature).map_err(|_| BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn a_signature_holds_for_its_bytes_key_and_domain_only() {
        let (key, other) = (new_key(), new_key());
        let signed = sign(&key, Domain::Evidence, b"payload".to_vec());
        assert!(verify(&key.verifying_key(), Domain::Evidence, &signed).is_ok());
        assert!(verify(&other.verifying_key(), Domain::Evidence, &signed).is_err());
        assert!(verify(&key.verifying_key(), Domain::Order, &signed).is_err());
        let changed = Signed { payload: b"Payload".to_vec(), ..signed.clone() };
        assert!(verify(&key.verifying_key(), Domain::Evidence, &changed).is_err());
        let cut = Signed { signature: signed.signature[..63].to_vec(), ..signed };
        assert!(verify(&key.verifying_key(), Domain::Evidence, &cut).is_err());
    }

    #[test]
    fn a_public_key_is_read_as_it_is_shown() {
        let key = new_key().verifying_key();
        assert_eq!(key_from_text(&format!(" {}\n", key_text(&key))), Ok(key));
        for text in ["", "secret", "AAAA", &STANDARD.encode([2; 31])] {
            assert_eq!(key_from_text(text), Err(BadKey), "{text}");
        }
    }

    #[test]
    fn who_signs_and_verifies_by_the_traits_is_believed_as_much_and_no_more() {
        let (key, other) = (new_key(), new_key());
        let signed = Signing::signs(&key, Domain::Evidence, b"payload".to_vec());
        assert_eq!(signed, sign(&key, Domain::Evidence, b"payload".to_vec()));
        assert_eq!(Signing::verifying(&key).holds(Domain::Evidence, &signed), Ok(()));
        assert_eq!(Signing::verifying(&key).holds(Domain::Order, &signed), Err(BadSignature));
        assert_eq!(other.verifying_key().holds(Domain::Evidence, &signed), Err(BadSignature));
    }

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn a_bare_signature_is_that_of_the_standard() {
        let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        let (key, signature) =
            (public_key(&hex::parse_all(key).unwrap()).unwrap(), hex::parse_all(signature).unwrap());
        assert_eq!(verify_bare(&key, &[0x72], &signature), Ok(()));
        assert_eq!(verify_bare(&key, &[0x73], &signature), Err(BadSignature));
        assert_eq!(verify_bare(&key, &[0x72], &signature[1..]), Err(BadSignature));
        let signed = Signed { payload: vec![0x72], signature };
        assert_eq!(verify(&key, Domain::Evidence, &signed), Err(BadSignature), "it is of no domain");
    }

    /// FIPS 180-2, appendix B.1.
    #[test]
    fn the_hash_is_sha_256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::format(&hash(b"abc")), expected);
    }
}
