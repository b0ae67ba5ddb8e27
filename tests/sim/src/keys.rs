//! Keys that cost little. Invariant: a stand-in's signature holds for its key, its domain and its bytes alone, as a real
//! one does; only that nobody could forge it is not true of it. A share of the seeds uses the real ones.

use ed25519_dalek::{SigningKey, VerifyingKey};
use seatbeat_proto::signed::{BadSignature, Domain, Signing, Verifying, hash};
use seatbeat_proto::wire::Signed;

/// A machine's key as the simulation uses it.
#[derive(Debug, Clone)]
pub struct Key {
    /// The real one, which names the machine and signs what is seldom.
    pub real: SigningKey,
    public: Public,
}

/// What tells a [`Key`]'s signatures.
#[derive(Debug, Clone)]
pub struct Public {
    key: VerifyingKey,
    cheap: bool,
}

impl Key {
    /// A key of these bytes; a cheap one signs evidence with a hash.
    pub fn new(bytes: [u8; 32], cheap: bool) -> Self {
        let real = SigningKey::from_bytes(&bytes);
        let public = Public { key: real.verifying_key(), cheap };
        Self { real, public }
    }

    /// What tells its signatures.
    pub fn public(&self) -> &Public {
        &self.public
    }
}

impl Public {
    fn stamp(&self, domain: Domain, payload: &[u8]) -> Vec<u8> {
        let domain = [domain as u8];
        hash(&[self.key.as_bytes().as_slice(), &domain, payload].concat()).to_vec()
    }
}

impl Verifying for Public {
    fn holds(&self, domain: Domain, signed: &Signed) -> Result<(), BadSignature> {
        if !self.cheap {
            return self.key.holds(domain, signed);
        }
        if self.stamp(domain, &signed.payload) == signed.signature { Ok(()) } else { Err(BadSignature) }
    }
}

impl Signing for Key {
    fn signs(&self, domain: Domain, payload: Vec<u8>) -> Signed {
        if self.public.cheap {
            Signed { signature: self.public.stamp(domain, &payload), payload }
        } else {
            self.real.signs(domain, payload)
        }
    }

    fn verifying(&self) -> &dyn Verifying {
        &self.public
    }
}
