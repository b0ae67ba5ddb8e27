//! What a row's value is encrypted with. Invariant: a value opens under the key and the name that it was sealed under,
//! and under no other.

use std::fs;
use std::io;
use std::path::Path;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{KEY_LENGTH, VaultError};
use crate::store::StoreError;

const KEY_ID_LENGTH: usize = 8;
const NONCE_LENGTH: usize = 24;
const SEAL_FORMAT: u8 = 1;

/// A vault's key, in use.
pub(super) struct Seal {
    cipher: XChaCha20Poly1305,
    key_id: [u8; KEY_ID_LENGTH],
}

impl Seal {
    /// With the key in a file.
    pub(super) fn read(path: &Path) -> Result<Self, VaultError> {
        let missing = || VaultError::Key { path: path.into() };
        let bytes = match fs::read(path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(source) => return Err(StoreError::Io { act: "read", path: path.into(), source }.into()),
        };
        let cipher = XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| missing())?;
        Ok(Self { cipher, key_id: key_id(&bytes) })
    }

    /// Whether it is in use here.
    pub(super) fn is_of(&self, key: &[u8]) -> bool {
        key_id(key) == self.key_id
    }

    /// Whether a value was sealed under this key, as far as it says.
    pub(super) fn names(&self, sealed: &[u8]) -> bool {
        sealed.get(1..1 + KEY_ID_LENGTH) == Some(&self.key_id)
    }

    /// `format | key id | nonce | ciphertext and tag`; the row's name, the format and the key id are bound to it.
    pub(super) fn seal(&self, name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).expect("the operating system gives random bytes");
        let payload = Payload { msg: value, aad: &self.bound_to(name) };
        let sealed = self.cipher.encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.expect("a value is shorter than what the cipher takes");
        [&[SEAL_FORMAT], self.key_id.as_slice(), &nonce, &sealed].concat()
    }

    /// The value; none where it is not what was sealed under this name and key.
    pub(super) fn unseal(&self, name: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let rest = sealed.strip_prefix(&[SEAL_FORMAT])?.strip_prefix(&self.key_id)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LENGTH>()?;
        let payload = Payload { msg: sealed, aad: &self.bound_to(name) };
        self.cipher.decrypt(XNonce::from_slice(nonce), payload).ok().map(Zeroizing::new)
    }

    fn bound_to(&self, name: &[u8]) -> Vec<u8> {
        [&[SEAL_FORMAT], self.key_id.as_slice(), name].concat()
    }
}

/// A new key.
pub(super) fn new_key() -> Zeroizing<[u8; KEY_LENGTH]> {
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    getrandom::fill(key.as_mut()).expect("the operating system gives random bytes");
    key
}

fn key_id(key: &[u8]) -> [u8; KEY_ID_LENGTH] {
    let mut id = [0; KEY_ID_LENGTH];
    let digest = Sha256::new_with_prefix(b"seatbeat vault key id").chain_update(key).finalize();
    id.copy_from_slice(&digest[..KEY_ID_LENGTH]);
    id
}
