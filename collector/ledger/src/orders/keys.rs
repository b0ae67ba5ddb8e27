//! Whose orders machines take, revision by revision. Invariant: revision 1 is signed by its own first key, each later
//! one by a key or the recovery key of the one before; the collector's service key is never among them.

use ed25519_dalek::VerifyingKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::signed::{Domain, public_key, verify};
use seatbeat_proto::wire;
use serde::{Deserialize, Serialize};

use crate::registry::Refusal;

/// Most order keys at once: one an operator, in a house with many.
const KEYS_MAX: usize = 16;

/// All revisions, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHistory(Vec<KeyRevision>);

/// One revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRevision {
    /// From 1, without gaps.
    pub revision: u64,
    /// Ed25519.
    pub keys: Vec<[u8; 32]>,
    /// Signs the next revision when the keys are lost; none: nothing does then.
    pub recovery: Option<[u8; 32]>,
    /// When it was set.
    pub set_at: Timestamp,
    /// By whom.
    pub by: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl KeyHistory {
    /// The revision in force; none: machines take nobody's orders.
    pub fn newest(&self) -> Option<&KeyRevision> {
        self.0.last()
    }

    /// All revisions, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &KeyRevision> {
        self.0.iter()
    }

    /// The revisions behind one, the oldest first: what a machine that has that one lacks.
    pub fn behind(&self, revision: u64) -> impl Iterator<Item = &KeyRevision> {
        self.0.iter().filter(move |one| one.revision > revision)
    }

    /// Whether orders signed by this key are taken.
    pub fn is_in_force(&self, key: &[u8; 32]) -> bool {
        self.newest().is_some_and(|newest| newest.keys.contains(key))
    }

    /// The key in force that signed an order, if any did.
    pub fn signer_of(&self, order: &wire::Signed) -> Option<[u8; 32]> {
        self.newest()?.keys.iter().find(|key| signed_by(key, Domain::Order, order)).copied()
    }

    pub(crate) fn set(
        &mut self,
        signed: &wire::Signed,
        service_key: Option<[u8; 32]>,
        by: &str,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let new = wire::OrderKeys::decode(signed.payload.as_slice()).map_err(|_| Refusal::Malformed)?;
        let keys: Vec<[u8; 32]> = new.keys.iter().map(|key| valid(key)).collect::<Result<_, _>>()?;
        let recovery = match new.recovery_key.as_slice() {
            [] => None,
            key => Some(valid(key)?),
        };
        let is_service = |key: &[u8; 32]| service_key == Some(*key);
        if keys.is_empty() || keys.len() > KEYS_MAX || keys.iter().chain(&recovery).any(is_service) {
            return Err(Refusal::Malformed);
        }
        let before = self.newest();
        if new.revision != before.map_or(0, |before| before.revision) + 1 {
            return Err(Refusal::NotNewer);
        }
        let may_sign: Vec<&[u8; 32]> = match before {
            Some(before) => before.keys.iter().chain(&before.recovery).collect(),
            None => keys.iter().take(1).collect(),
        };
        if !may_sign.iter().any(|key| signed_by(key, Domain::OrderKeys, signed)) {
            return Err(Refusal::BadSignature);
        }
        self.0.push(KeyRevision {
            revision: new.revision,
            keys,
            recovery,
            set_at: at,
            by: by.to_owned(),
            payload: signed.payload.clone(),
            signature: signed.signature.clone(),
        });
        Ok(())
    }
}

impl KeyRevision {
    /// As it was signed.
    pub fn signed(&self) -> wire::Signed {
        wire::Signed { payload: self.payload.clone(), signature: self.signature.clone() }
    }
}

fn valid(key: &[u8]) -> Result<[u8; 32], Refusal> {
    public_key(key).map(|key| key.to_bytes()).map_err(|_| Refusal::Malformed)
}

fn signed_by(key: &[u8; 32], domain: Domain, signed: &wire::Signed) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| verify(&key, domain, signed).is_ok())
}
