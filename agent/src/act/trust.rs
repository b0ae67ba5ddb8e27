//! Whose orders this machine takes. Invariant: pure; over the wire only the next revision is taken, signed by a key or
//! the recovery key of this one; who trusts nobody learns whom to trust on the machine itself.

use ed25519_dalek::VerifyingKey;
use prost::Message as _;
use seatbeat_proto::hex;
use seatbeat_proto::signed::{Domain, public_key, verify};
use seatbeat_proto::{trust, wire};
use serde::{Deserialize, Serialize};

use super::book::Signer;

/// Order keys that are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// This revision or a later one is in force.
    #[error("order keys of revision {offered} came, and revision {held} is in force")]
    Old {
        /// What came.
        offered: u64,
        /// What is in force.
        held: u64,
    },
    /// One in between is missing.
    #[error(
        "order keys of revision {offered} came, and revision {held} is in force: one in between is missing"
    )]
    Gap {
        /// What came.
        offered: u64,
        /// What is in force.
        held: u64,
    },
    /// This machine trusts nobody yet.
    #[error(
        "order keys came, and this machine takes nobody's orders: `seatbeat-agent trust-orders` on it changes that"
    )]
    Nobody,
    /// Not signed by whom it should be.
    #[error("order keys are not signed by a key that was in force before them")]
    Forged,
    /// Not order keys.
    #[error("order keys cannot be read")]
    Unreadable,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trust {
    /// 0: nobody's orders are taken.
    pub revision: u64,
    /// Ed25519, hexadecimal.
    pub keys: Vec<String>,
    /// Signs the next revision when the keys are lost; empty: there is none.
    pub recovery: String,
}

impl Trust {
    /// What an administrator brought; `None`: keys that cannot be used.
    pub fn brought(keys: &wire::OrderKeys) -> Option<Self> {
        trust::is_usable(keys).then(|| Self {
            revision: keys.revision,
            keys: keys.keys.iter().map(|key| hex::format(key)).collect(),
            recovery: hex::format(&keys.recovery_key),
        })
    }

    /// What follows from keys that came over the wire.
    ///
    /// # Errors
    /// Why they are not taken.
    pub fn followed_by(&self, signed: &wire::Signed) -> Result<Self, NotTaken> {
        let keys = wire::OrderKeys::decode(signed.payload.as_slice()).map_err(|_| NotTaken::Unreadable)?;
        let (offered, held) = (keys.revision, self.revision);
        if held == 0 {
            return Err(NotTaken::Nobody);
        }
        if offered <= held {
            return Err(NotTaken::Old { offered, held });
        }
        if offered > held + 1 {
            return Err(NotTaken::Gap { offered, held });
        }
        let signers = self.verifying().chain(key(&self.recovery));
        if !signers.into_iter().any(|key| verify(&key, Domain::OrderKeys, signed).is_ok()) {
            return Err(NotTaken::Forged);
        }
        Self::brought(&keys).ok_or(NotTaken::Unreadable)
    }

    /// Who signed an order, and with which key; `None`: nobody who may.
    pub fn signer(&self, service: &VerifyingKey, signed: &wire::Signed) -> Option<(Signer, VerifyingKey)> {
        let by = |key: &VerifyingKey| verify(key, Domain::Order, signed).is_ok();
        let operator = self.verifying().find(by).map(|key| (Signer::Operator, key));
        operator.or_else(|| by(service).then_some((Signer::Service, *service)))
    }

    fn verifying(&self) -> impl Iterator<Item = VerifyingKey> {
        self.keys.iter().filter_map(|text| key(text))
    }
}

fn key(text: &str) -> Option<VerifyingKey> {
    public_key(&hex::parse::<32>(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use seatbeat_proto::signed::{new_key, sign};

    fn keys(revision: u64, key: &SigningKey, recovery: &SigningKey) -> wire::OrderKeys {
        wire::OrderKeys {
            revision,
            keys: vec![key.verifying_key().to_bytes().to_vec()],
            recovery_key: recovery.verifying_key().to_bytes().to_vec(),
        }
    }

    fn signed(by: &SigningKey, keys: &wire::OrderKeys) -> wire::Signed {
        sign(by, Domain::OrderKeys, keys.encode_to_vec())
    }

    #[test]
    fn the_next_revision_is_taken_from_a_key_or_the_recovery_key_of_this_one_and_from_nobody_else() {
        let (old, recovery, new, stranger) = (new_key(), new_key(), new_key(), new_key());
        let trust = Trust::brought(&keys(1, &old, &recovery)).unwrap();
        let next = keys(2, &new, &recovery);
        for by in [&old, &recovery] {
            let taken = trust.followed_by(&signed(by, &next)).unwrap();
            assert_eq!(taken, Trust::brought(&next).unwrap());
            let after = signed(&old, &keys(3, &old, &recovery));
            assert_eq!(
                taken.followed_by(&after),
                Err(NotTaken::Forged),
                "the old key is not in force any more"
            );
        }
        for by in [&new, &stranger] {
            assert_eq!(trust.followed_by(&signed(by, &next)), Err(NotTaken::Forged));
        }
        let other_domain = sign(&old, Domain::Order, next.encode_to_vec());
        assert_eq!(trust.followed_by(&other_domain), Err(NotTaken::Forged));
    }

    #[test]
    fn revisions_are_taken_one_after_the_other_and_never_without_a_first_on_the_machine() {
        let (key, recovery) = (new_key(), new_key());
        let trust = Trust::brought(&keys(3, &key, &recovery)).unwrap();
        let offered = |revision| trust.followed_by(&signed(&key, &keys(revision, &key, &recovery)));
        assert_eq!(offered(3), Err(NotTaken::Old { offered: 3, held: 3 }));
        assert_eq!(offered(5), Err(NotTaken::Gap { offered: 5, held: 3 }));
        assert!(offered(4).is_ok());
        let first = signed(&key, &keys(1, &key, &recovery));
        assert_eq!(Trust::default().followed_by(&first), Err(NotTaken::Nobody));
        let none = wire::OrderKeys { keys: vec![], ..keys(4, &key, &recovery) };
        assert_eq!(trust.followed_by(&signed(&key, &none)), Err(NotTaken::Unreadable));
    }

    #[test]
    fn an_order_is_its_operators_or_the_services_that_signed_it_and_nobodys_else() {
        let (operator, recovery, service, stranger) = (new_key(), new_key(), new_key(), new_key());
        let trust = Trust::brought(&keys(1, &operator, &recovery)).unwrap();
        let signer =
            |by: &SigningKey, domain| trust.signer(&service.verifying_key(), &sign(by, domain, vec![1]));
        assert_eq!(signer(&operator, Domain::Order), Some((Signer::Operator, operator.verifying_key())));
        assert_eq!(signer(&service, Domain::Order), Some((Signer::Service, service.verifying_key())));
        for by in [&recovery, &stranger] {
            assert_eq!(signer(by, Domain::Order), None);
        }
        assert_eq!(signer(&operator, Domain::OrderKeys), None, "what was signed is no order");
    }
}
