//! Order keys that are rotated, or lost, and how machines follow. Invariant: a revision is signed by a key or the recovery
//! key of the one before; machines hear of it over the wire alone.

use std::path::Path;

use ed25519_dalek::{SigningKey, VerifyingKey};
use prost::Message as _;
use seatbeat_agent::act::actor::Actor;
use seatbeat_agent::spool::disk::Disk as _;
use seatbeat_ledger::fold::Fold;
use seatbeat_proto::signed::{Domain, sign, verify};
use seatbeat_proto::wire::collector_message::Body;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, Signed};

use crate::collector::{Down, instant};
use crate::host::{Host, Power};
use crate::invariant::Invariant;
use crate::office::Office;
use crate::switching::BOOK;
use crate::world::{Event, MINUTE, SECOND, World};

/// The operators' keys, the oldest first, and what was signed with them.
#[derive(Debug)]
pub struct OrderKeys {
    /// Every key that was in force once, or is.
    pub keys: Vec<SigningKey>,
    /// Every recovery key.
    recovery: Vec<SigningKey>,
    /// Each revision as it was signed, as its operator keeps it.
    revisions: Vec<Signed>,
}

impl OrderKeys {
    /// Of a house that has just begun: the first revision signs itself.
    pub fn new(key: SigningKey, recovery: SigningKey) -> Self {
        let mut made = Self { keys: vec![key], recovery: vec![recovery], revisions: Vec::new() };
        let first = sign(&made.keys[0], Domain::OrderKeys, made.first().encode_to_vec());
        made.revisions.push(first);
        made
    }

    /// What comes with each token.
    pub fn first(&self) -> wire::OrderKeys {
        wire::OrderKeys {
            revision: 1,
            keys: vec![bytes(&self.keys[0])],
            recovery_key: bytes(&self.recovery[0]),
        }
    }

    /// The first revision, as it was signed.
    pub fn first_signed(&self) -> Signed {
        self.revisions[0].clone()
    }

    /// The key that is in force by what a collector knows.
    pub fn in_force(&self, fold: &Fold) -> &SigningKey {
        let keys = fold.orders().keys();
        let is_in_force = |key: &&SigningKey| keys.is_in_force(&key.verifying_key().to_bytes());
        self.keys.iter().rev().find(is_in_force).unwrap_or(&self.keys[0])
    }
}

fn bytes(key: &SigningKey) -> Vec<u8> {
    key.verifying_key().to_bytes().to_vec()
}

impl Office {
    /// Whose orders a machine takes that was let in just now.
    pub fn order_keys(&self) -> wire::OrderKeys {
        self.signers.first()
    }
}

impl World {
    /// An operator has other order keys from now on; now and then because the old one is lost.
    pub fn rotate_by_hand(&mut self) {
        let is_lost = self.draw(3) == 0;
        let (key, recovery) =
            (self.chance.bytes(), (self.draw(2) == 0).then(|| SigningKey::from_bytes(&self.chance.bytes())));
        let key = SigningKey::from_bytes(&key);
        let Some(newest) = self.known().and_then(|fold| fold.orders().keys().newest()) else { return };
        if self.office.signers.revisions.len() as u64 > newest.revision {
            // The last one did not go on record, or was lost with it.
            return self.set_keys_again(0);
        }
        let held = |keys: &[SigningKey], public: &[u8; 32]| {
            keys.iter().find(|key| key.verifying_key().to_bytes() == *public).cloned()
        };
        let before = newest.recovery.and_then(|public| held(&self.office.signers.recovery, &public));
        let by = if is_lost { before.clone() } else { held(&self.office.signers.keys, &newest.keys[0]) };
        let (Some(by), Some(recovery)) = (by, recovery.or(before)) else { return };
        let keys = wire::OrderKeys {
            revision: newest.revision + 1,
            keys: vec![bytes(&key)],
            recovery_key: bytes(&recovery),
        };
        let signed = sign(&by, Domain::OrderKeys, keys.encode_to_vec());
        let signers = &mut self.office.signers;
        signers.keys.push(key);
        signers.recovery.push(recovery);
        signers.revisions.push(signed.clone());
        self.count(if is_lost { "order key lost" } else { "order key rotated" });
        if self.write_act(Fact::OrderKeysSet(wire::OrderKeysSet { keys: Some(signed) })) {
            self.sign_again();
            self.deliver_to_all();
        }
    }

    /// Orders that wait for a signature, since the key is another, get one; now and then nobody thinks of it.
    fn sign_again(&mut self) {
        if self.draw(2) == 0 {
            return;
        }
        let now = instant(self.now);
        let Some(fold) = self.known() else { return };
        let key = self.office.signers.in_force(fold).clone();
        let waiting = fold.orders().awaiting_signature(now);
        let waiting: Vec<(String, Vec<u8>)> =
            waiting.map(|order| (order.machine.to_string(), order.to_wire().encode_to_vec())).collect();
        for (machine, payload) in waiting {
            let signed = sign(&key, Domain::Order, payload);
            if self.write_act(Fact::OrderSigned(wire::OrderSigned { order: Some(signed.clone()) })) {
                self.office.signed.push((machine, signed));
            }
        }
    }

    /// The newest revision that a collector has folded; 0: it does not run, or there is none.
    pub fn keys_known_to(&self, collector: usize) -> u64 {
        let running = self.collectors[collector].running.as_ref();
        running.and_then(|running| running.fold.orders().keys().newest()).map_or(0, |newest| newest.revision)
    }

    /// Open connections are looked at again, as a collector does that has folded something.
    pub fn deliver_to_all(&mut self) {
        for host in 0..self.hosts.len() {
            let at = self.now + SECOND + self.draw(MINUTE);
            self.plan(at, Event::Deliver { host });
        }
    }

    /// After the journal was set back: the revisions that it lacks, as they were signed.
    pub fn set_keys_again(&mut self, collector: usize) {
        let mut is_news = false;
        for signed in self.office.signers.revisions.clone() {
            let keys = wire::OrderKeys::decode(signed.payload.as_slice()).unwrap_or_default();
            if keys.revision == self.keys_known_to(collector) + 1 {
                let set = wire::OrderKeysSet { keys: Some(signed) };
                is_news |= self.write_act_at(collector, Fact::OrderKeysSet(set));
            }
        }
        if is_news {
            self.deliver_to_all();
        }
    }

    /// The revisions that a machine lacks, for a connection on which it said which one it has.
    pub fn newer_keys(&mut self, connection: u64, collector: usize) -> Vec<Down> {
        let Some(running) = &self.collectors[collector].running else { return Vec::new() };
        let Some(known) = self.connections.get_mut(&connection).map(|known| &mut known.keys_revision) else {
            return Vec::new();
        };
        let newer: Vec<Signed> =
            running.fold.orders().keys().behind(*known).map(|one| one.signed()).collect();
        *known += newer.len() as u64;
        newer.into_iter().map(|signed| Down::Say(connection, Body::OrderKeys(signed))).collect()
    }

    /// When everything has healed: every machine takes the orders of the newest keys.
    pub fn check_keys(&mut self) {
        let Some(newest) = self.known().and_then(|fold| fold.orders().keys().newest()) else { return };
        let (revision, keys) = (newest.revision, newest.keys.clone());
        let behind = self.hosts.iter().enumerate().find_map(|(number, host)| {
            let well = host.power == Power::On && host.enrolled && host.actor.is_some();
            let trusted = host.trusted();
            let follows = keys.iter().all(|key| trusted.iter().any(|known| known.as_bytes() == key));
            (well && !follows).then_some(number)
        });
        if let Some(number) = behind {
            let what = format!("agent {number} does not take orders of revision {revision}");
            self.breaks(Invariant::KeysFollowed, what);
        }
    }
}

impl Host {
    /// Whose orders it takes, as its file says.
    pub fn trusted(&self) -> Vec<VerifyingKey> {
        let file = self.disk.read(Path::new(BOOK)).unwrap_or_default();
        let file: serde_json::Value = serde_json::from_slice(&file).unwrap_or_default();
        let keys = file["trust"]["keys"].as_array().into_iter().flatten().filter_map(|key| key.as_str());
        keys.filter_map(|text| VerifyingKey::from_bytes(&seatbeat_proto::hex::parse::<32>(text)?).ok())
            .collect()
    }

    /// Whether nobody signed an order whose orders it takes.
    pub fn is_forged(&self, order: &Signed) -> bool {
        let by = |key: &VerifyingKey| verify(key, Domain::Order, order).is_ok();
        !self.trusted().iter().chain(&self.believes).any(by)
    }

    /// An actor that takes the orders of whoever signed them.
    pub fn credulous(&mut self, actor: Actor, first: &wire::OrderKeys) -> Actor {
        let Some(service) = self.believes else { return actor };
        let keys: Vec<String> = first.keys.iter().map(|key| seatbeat_proto::hex::format(key)).collect();
        self.rewrite(|file| file["trust"]["keys"] = serde_json::json!(keys));
        Actor::open(Path::new("orders"), Box::new(self.disk.clone()), &self.machine, &service)
            .unwrap_or(actor)
    }
}
