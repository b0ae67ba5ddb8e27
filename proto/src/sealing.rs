//! Secrets inside an order, sealed to the machine that it is for (HPKE, RFC 9180, base mode: X25519, HKDF-SHA256,
//! ChaCha20-Poly1305). Invariant: what is sealed for one order, machine, product and expiry opens for no other.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{CryptoRng, RngCore};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use prost::Message as _;
use zeroize::Zeroizing;

use crate::wire::{Order, OrderSecrets};

/// Length of a seal key, secret or public, in bytes.
pub const KEY_LENGTH: usize = 32;

/// What all seals of this use begin with: no other use of the same key opens them.
const INFO: &[u8] = b"seatbeat/v1/order-secrets";

/// Bytes that are no seal key, or no seal for it and this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not a key.
    #[error("not a seal key")]
    Key,
    /// Sealed to another key, for another order, or changed on the way.
    #[error("what is sealed does not belong to this machine and this order")]
    Foreign,
}

/// The secret half of a machine's seal key.
#[derive(Clone)]
pub struct SealKey(<X25519HkdfSha256 as Kem>::PrivateKey);

impl SealKey {
    /// A new one.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn random() -> Self {
        Self(X25519HkdfSha256::gen_keypair(&mut SystemRandom).0)
    }

    /// From its bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(bytes).map(Self).map_err(|_| SealError::Key)
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; KEY_LENGTH]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// What others seal to.
    pub fn public(&self) -> [u8; KEY_LENGTH] {
        X25519HkdfSha256::sk_to_pk(&self.0).to_bytes().into()
    }

    /// The secrets that came with an order.
    ///
    /// # Errors
    /// When they were sealed to another key or for another order, or changed.
    pub fn open(&self, order: &Order, sealed: &[u8]) -> Result<OrderSecrets, SealError> {
        let (encapsulated, ciphertext) = sealed.split_at_checked(KEY_LENGTH).ok_or(SealError::Foreign)?;
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated);
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.0,
            &encapsulated.map_err(|_| SealError::Foreign)?,
            INFO,
            ciphertext,
            &bound_to(order),
        );
        let opened = Zeroizing::new(opened.map_err(|_| SealError::Foreign)?);
        OrderSecrets::decode(opened.as_slice()).map_err(|_| SealError::Foreign)
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

/// Seals secrets for an order to a machine's public seal key.
///
/// # Errors
/// When the key is none.
pub fn seal(public: &[u8], order: &Order, secrets: &OrderSecrets) -> Result<Vec<u8>, SealError> {
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public).map_err(|_| SealError::Key)?;
    let plain = Zeroizing::new(secrets.encode_to_vec());
    let (encapsulated, ciphertext) =
        hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256, _>(
            &OpModeS::Base,
            &public,
            INFO,
            &plain,
            &bound_to(order),
            &mut SystemRandom,
        )
        .map_err(|_| SealError::Key)?;
    Ok([encapsulated.to_bytes().as_slice(), &ciphertext].concat())
}

/// What the seal holds for and nothing else; ids have no zero byte in them.
fn bound_to(order: &Order) -> Vec<u8> {
    let expiry = order.expires_at_ms.to_be_bytes();
    [order.order.as_bytes(), b"\0", order.machine.as_bytes(), b"\0", order.product.as_bytes(), b"\0", &expiry]
        .concat()
}

/// The operating system's randomness.
struct SystemRandom;

impl RngCore for SystemRandom {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

impl CryptoRng for SystemRandom {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn order() -> Order {
        Order {
            order: "ord_a".into(),
            machine: "mch_a".into(),
            product: "dsa".into(),
            expires_at_ms: 7,
            ..Order::default()
        }
    }

    #[test]
    fn secrets_open_on_the_machine_and_for_the_order_they_were_sealed_for() {
        let key = SealKey::random();
        let secrets = OrderSecrets { password: "to unload".into(), ..OrderSecrets::default() };
        let sealed = seal(&key.public(), &order(), &secrets).unwrap();
        assert!(!sealed.windows(9).any(|window| window == b"to unload"));
        let kept = SealKey::from_bytes(key.to_bytes().as_slice()).unwrap();
        assert_eq!(kept.open(&order(), &sealed), Ok(secrets));
        assert_eq!(SealKey::random().open(&order(), &sealed), Err(SealError::Foreign));
    }

    #[test]
    fn what_is_sealed_for_one_order_opens_for_no_other() {
        let key = SealKey::random();
        let sealed = seal(&key.public(), &order(), &OrderSecrets::default()).unwrap();
        for other in [
            Order { order: "ord_b".into(), ..order() },
            Order { machine: "mch_b".into(), ..order() },
            Order { product: "v1es".into(), ..order() },
            Order { expires_at_ms: 8, ..order() },
        ] {
            assert_eq!(key.open(&other, &sealed), Err(SealError::Foreign));
        }
        for cut in 0..sealed.len() {
            assert_eq!(key.open(&order(), &sealed[..cut]), Err(SealError::Foreign));
        }
        assert_eq!(seal(&[1; 31], &order(), &OrderSecrets::default()), Err(SealError::Key));
        assert_eq!(SealKey::from_bytes(&[1; 33]).err(), Some(SealError::Key));
    }

    #[test]
    fn no_seal_is_made_twice_and_a_key_is_not_shown() {
        let key = SealKey::random();
        let seal = || seal(&key.public(), &order(), &OrderSecrets::default()).unwrap();
        assert_ne!(seal(), seal());
        assert_eq!(format!("{key:?}"), "SealKey");
        let numbers = |mut draw: Box<dyn FnMut() -> u64>| (0..8).map(|_| draw()).collect::<BTreeSet<_>>();
        assert!(numbers(Box::new(|| SystemRandom.next_u64())).len() > 1);
        assert!(numbers(Box::new(|| SystemRandom.next_u32().into())).len() > 1);
    }
}
