//! A reseller's fold that orders are given in, with its clock and its machines.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::ids::{MachineId, OrderId};
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, Action, JournalRecord, ProductState, evidence};

use crate::fold::{Fold, Verdict};
use crate::orders::{Order, Status};
use crate::record::{Event, Record};
use crate::registry::Refusal;

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;
pub(super) const MACHINES: u8 = 4;

pub(super) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub(super) fn public(number: u8) -> Vec<u8> {
    key(number).verifying_key().to_bytes().to_vec()
}

pub(super) fn machine(number: u8) -> MachineId {
    MachineId::derived_from(&public(number))
}

pub(super) fn id(text: &str) -> OrderId {
    text.parse().unwrap()
}

pub(super) fn keys_set(revision: u64, keys: &[u8], recovery: Option<u8>, signer: u8) -> Fact {
    let keys = wire::OrderKeys {
        revision,
        keys: keys.iter().map(|number| public(*number)).collect(),
        recovery_key: recovery.map(public).unwrap_or_default(),
    };
    let keys = Some(sign(&key(signer), Domain::OrderKeys, keys.encode_to_vec()));
    Fact::OrderKeysSet(wire::OrderKeysSet { keys })
}

/// A reseller's fold with four machines of one customer; the order key is 101, its recovery key 102.
pub(super) struct House {
    pub(super) fold: Fold,
    pub(super) now_ms: i64,
    pub(super) actor: &'static str,
    pub(super) chains: BTreeMap<u8, (u64, Vec<u8>)>,
    pub(super) counted: Vec<Record>,
}

impl House {
    pub(super) fn new() -> Self {
        let (fold, chains) = (Fold::default(), BTreeMap::new());
        let mut house = Self { fold, now_ms: DAY_MS * 20_000, actor: "opr_a", chains, counted: Vec::new() };
        house.taken(Fact::Founded(wire::Founded {
            reseller: "rsl_a".into(),
            format: 1,
            service_key: public(200),
            statement_key: public(201),
        }));
        for operator in ["opr_a", "opr_b"] {
            let token_hash = vec![operator.len() as u8; 32];
            house.taken(Fact::OperatorAdded(wire::OperatorAdded {
                operator: operator.into(),
                token_hash,
                ..Default::default()
            }));
        }
        for customer in ["cus_a", "cus_b"] {
            house.taken(Fact::CustomerAdded(wire::CustomerAdded { customer: customer.into() }));
        }
        house.taken(Fact::TokenCreated(wire::TokenCreated {
            token: "tok_a".into(),
            customer: "cus_a".into(),
            secret_hash: vec![1; 32],
            uses_max: 100,
            expires_at_ms: house.now_ms + DAY_MS,
            uses_per_hour: 0,
        }));
        for number in 1..=MACHINES {
            let claim = wire::EnrolmentClaim {
                public_key: public(number),
                token: "tok_a".into(),
                ..Default::default()
            };
            let claim = Some(sign(&key(number), Domain::EnrolmentClaim, claim.encode_to_vec()));
            house.taken(Fact::EnrolmentRequested(wire::EnrolmentRequested { claim }));
        }
        house.taken(keys_set(1, &[101], Some(102), 101));
        house
    }

    pub(super) fn write(&mut self, fact: Fact) -> Verdict {
        let record = JournalRecord {
            recorded_at_ms: self.now_ms,
            actor: self.actor.into(),
            reason: "not paid".into(),
            fact: Some(fact),
            ..Default::default()
        };
        let (verdict, counted) = self.fold.replay(&record.encode_to_vec()).unwrap();
        self.counted.extend(counted);
        verdict
    }

    pub(super) fn taken(&mut self, fact: Fact) {
        assert_eq!(self.write(fact), Verdict::Taken);
    }

    pub(super) fn refused(&mut self, fact: Fact, refusal: Refusal) {
        assert_eq!(self.write(fact), Verdict::Refused(refusal));
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms).unwrap()
    }

    pub(super) fn hours(&mut self, hours: i64) {
        self.now_ms += hours * HOUR_MS;
    }

    pub(super) fn request(&self, batch: &str, action: Action, machines: u32, orders: u32) -> Fact {
        Fact::OrdersRequested(wire::OrdersRequested {
            batch: batch.into(),
            action: action.into(),
            scope: Some(wire::OrderScope { customer: "cus_a".into(), ..Default::default() }),
            machines,
            orders,
            expires_at_ms: self.now_ms + 7 * DAY_MS,
        })
    }

    pub(super) fn place(&self, batch: &str, order: &str, number: u8, action: Action, product: &str) -> Fact {
        let request = wire::Order {
            order: order.into(),
            machine: machine(number).to_string(),
            action: action.into(),
            product: product.into(),
            issued_at_ms: self.now_ms,
            expires_at_ms: self.now_ms + DAY_MS,
            ..Default::default()
        };
        placed(batch, request)
    }

    /// A signature over the order as it stands.
    pub(super) fn signed(&self, order: &str, signer: u8) -> Fact {
        let payload = self.order(order).to_wire().encode_to_vec();
        signed(sign(&key(signer), Domain::Order, payload))
    }

    pub(super) fn order(&self, order: &str) -> &Order {
        self.fold.orders().order(&id(order)).unwrap()
    }

    pub(super) fn status(&self, order: &str) -> Status<'_> {
        self.fold.orders().status(self.order(order), self.now())
    }

    /// A batch of one order, signed.
    pub(super) fn ordered(&mut self, order: &str, number: u8, action: Action, product: &str) {
        let batch = format!("bat_{order}");
        self.taken(self.request(&batch, action, 1, 1));
        self.taken(self.place(&batch, order, number, action, product));
        self.taken(self.signed(order, 101));
    }

    pub(super) fn deliverable(&self, number: u8) -> Vec<&str> {
        let orders = self.fold.orders().deliverable(&machine(number), self.now());
        orders.into_iter().map(|order| order.id.as_str()).collect()
    }

    pub(super) fn says(&mut self, number: u8, body: evidence::Body) {
        let (sequence, previous) = self.chains.get(&number).cloned().unwrap_or_default();
        let evidence = wire::Evidence {
            machine: machine(number).to_string(),
            spool: format!("spl_{number}"),
            sequence: sequence + 1,
            previous,
            observed_at_ms: self.now_ms,
            body: Some(body),
            ..Default::default()
        };
        let evidence = sign(&key(number), Domain::Evidence, evidence.encode_to_vec());
        self.chains.insert(number, (sequence + 1, hash(&evidence.payload).to_vec()));
        self.taken(Fact::EvidenceReceived(wire::EvidenceReceived {
            evidence: Some(evidence),
            ..Default::default()
        }));
    }

    pub(super) fn answers(&mut self, number: u8, order: &str, outcome: wire::Outcome) {
        let result = wire::OrderResult {
            order: order.into(),
            outcome: outcome.into(),
            detail: format!("seen: {outcome:?}"),
            ..Default::default()
        };
        self.says(number, evidence::Body::OrderResult(result));
    }

    pub(super) fn reports(&mut self, number: u8, products: &[(&str, ProductState)]) {
        let products = products.iter().map(|(product, state)| wire::FoundProduct {
            product: (*product).into(),
            state: (*state).into(),
            ..Default::default()
        });
        let report = wire::Report { products: products.collect(), ..Default::default() };
        self.says(number, evidence::Body::Report(report));
    }

    /// How often the count heard that a product was switched.
    pub(super) fn switched(&self) -> usize {
        let is_switch = |record: &&Record| {
            let Record::Entry(entry) = record else { return false };
            matches!(entry.event, Event::SwitchedOff { .. } | Event::SwitchedOn { .. })
        };
        self.counted.iter().filter(is_switch).count()
    }
}

pub(super) fn placed(batch: &str, request: wire::Order) -> Fact {
    Fact::OrderPlaced(wire::OrderPlaced { order: None, request: Some(request), batch: batch.into() })
}

pub(super) fn signed(order: wire::Signed) -> Fact {
    Fact::OrderSigned(wire::OrderSigned { order: Some(order) })
}

pub(super) fn cancel(batch: &str, order: &str) -> Fact {
    Fact::OrderCancelled(wire::OrderCancelled { batch: batch.into(), order: order.into() })
}

pub(super) fn confirm(batch: &str) -> Fact {
    Fact::OrdersConfirmed(wire::OrdersConfirmed { batch: batch.into() })
}
