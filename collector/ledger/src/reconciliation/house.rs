//! A fold with a sealed October for tests, and what is said of it. Invariant: every record goes through the fold.

use std::collections::BTreeMap;

use prost::Message as _;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, JournalRecord};

use super::{Against, Key, Source, Theirs, parts};
use crate::body::SealedBody;
use crate::fold::{FORMAT, Fold, Verdict};
use crate::registry::Refusal;

pub(crate) struct House {
    pub fold: Fold,
    pub now_ms: i64,
}

/// 2026-11-05.
const NOW_MS: i64 = 1_793_836_800_000;

pub(crate) fn key(customer: &str, sku: &str) -> Key {
    (format!("cus_{customer}").parse().unwrap(), sku.parse().unwrap())
}

pub(crate) fn against(source: &str) -> Against {
    Against {
        period: "2026-10".parse().unwrap(),
        distributor: "ingram".to_owned(),
        source: source.parse().unwrap(),
    }
}

/// `a A 40 128.00`: customer, SKU, quantity and amount; without an amount provisioned, `-` for no number.
pub(crate) fn rows(said: &[&str]) -> BTreeMap<Key, Theirs> {
    let row = |row: &&str| {
        let mut words = row.split(' ');
        let key = key(words.next().unwrap(), words.next().unwrap());
        let quantity = words.next().unwrap();
        let theirs = Theirs {
            quantity: (quantity != "-").then(|| quantity.parse().unwrap()),
            used: None,
            amount: words.next().map(|amount| amount.parse().unwrap()),
        };
        (key, theirs)
    };
    said.iter().map(row).collect()
}

/// A sealed line `a A 40 128.00 3.20`: what it costs and a unit of it, where it has a price.
pub(crate) fn line(said: &str) -> serde_json::Value {
    let words: Vec<&str> = said.split(' ').collect();
    let mut line = serde_json::json!({
        "customer": format!("cus_{}", words[0]), "sku": words[1], "quantity": words[2],
    });
    if let Some(cost) = words.get(3) {
        line["cost"] = (*cost).into();
        line["currency"] = (*words.get(5).unwrap_or(&"USD")).into();
        line["distributor"] = "ingram".into();
    }
    if let Some(unit) = words.get(4).filter(|unit| **unit != "-") {
        line["unit_cost"] = (*unit).into();
    }
    line
}

/// A body with these lines, and corrections `2026-09 a A -2 -6.40`.
pub(crate) fn body_json(lines: &[&str], corrections: &[&str]) -> serde_json::Value {
    let correction = |said: &&str| {
        let words: Vec<&str> = said.split(' ').collect();
        serde_json::json!({
            "for_period": words[0], "customer": format!("cus_{}", words[1]), "sku": words[2], "delta": words[3],
            "cost": words.get(4),
        })
    };
    serde_json::json!({
        "period": "2026-10", "distributor": "ingram", "revision": 1,
        "lines": lines.iter().map(|said| line(said)).collect::<Vec<_>>(),
        "corrections": corrections.iter().map(correction).collect::<Vec<_>>(),
    })
}

pub(crate) fn body(lines: &[&str], corrections: &[&str]) -> SealedBody {
    serde_json::from_value(body_json(lines, corrections)).unwrap()
}

impl House {
    /// Customers `a` and `b`; nothing is sealed.
    pub(crate) fn bare() -> Self {
        let mut house = Self { fold: Fold::default(), now_ms: NOW_MS };
        house.taken(Fact::Founded(wire::Founded {
            reseller: "rsl_a".into(),
            format: FORMAT,
            service_key: vec![1; 32],
            statement_key: vec![2; 32],
        }));
        house.taken(Fact::PolicySet(wire::PolicySet {
            toml: "zone = \"UTC\"\n[default_sku]\ndsa = \"A\"".into(),
            ..Default::default()
        }));
        for customer in ["cus_a", "cus_b"] {
            house.taken(Fact::CustomerAdded(wire::CustomerAdded { customer: customer.into() }));
        }
        house
    }

    /// With October sealed for ingram.
    pub(crate) fn sealed(lines: &[&str]) -> Self {
        let mut house = Self::bare();
        house.seal(&body_json(lines, &[]));
        house
    }

    pub(crate) fn seal(&mut self, body: &serde_json::Value) {
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        self.taken(Fact::StatementSealed(wire::StatementSealed {
            distributor: text("distributor"),
            period: text("period"),
            revision: body["revision"].as_u64().unwrap() as u32,
            statement: Some(wire::Signed { payload: body.to_string().into_bytes(), signature: vec![0; 64] }),
        }));
    }

    pub(crate) fn write(&mut self, fact: Fact, reason: &str) -> Verdict {
        let record = JournalRecord {
            recorded_at_ms: self.now_ms,
            actor: "opr_a".to_owned(),
            reason: reason.to_owned(),
            fact: Some(fact),
            ..Default::default()
        };
        self.fold.apply(&record.encode_to_vec()).unwrap()
    }

    pub(crate) fn taken(&mut self, fact: Fact) {
        assert_eq!(self.write(fact, ""), Verdict::Taken);
    }

    pub(crate) fn refused(&mut self, fact: Fact, reason: &str, refusal: Refusal) {
        assert_eq!(self.write(fact, reason), Verdict::Refused(refusal));
    }

    /// What a destination, or an invoice in USD, says of October.
    pub(crate) fn said(&mut self, source: &str, said: &[&str]) {
        let (against, rows) = (against(source), rows(said));
        let facts = match against.source {
            Source::Invoice => parts::invoiced(&against, "USD", rows.iter()),
            Source::Destination(_) => parts::provisioned(&against, rows.iter(), super::Unmapped::default()),
        };
        for fact in facts.unwrap() {
            self.taken(fact);
        }
    }
}
