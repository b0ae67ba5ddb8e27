//! What a replay gives out against what the fold counted: every kind of fact, and the same usage from both.

use ed25519_dalek::SigningKey;
use prost::Message as _;
use seatbeat_proto::signed::{Domain, hash, new_key, sign};
use seatbeat_proto::wire::JournalRecord;
use seatbeat_proto::wire::{Action, evidence};

use super::*;
use crate::calendar::Zone;
use crate::record_set::RecordSet;

const START_MS: i64 = 1_790_000_000_000;

#[derive(Default)]
struct Journal {
    records: Vec<Vec<u8>>,
    tip: Vec<u8>,
    sequence: u64,
}

impl Journal {
    fn now_ms(&self) -> i64 {
        START_MS + self.records.len() as i64 * 60_000
    }

    fn add(&mut self, fact: Fact) {
        let record = JournalRecord {
            recorded_at_ms: self.now_ms(),
            actor: "opr_1".to_owned(),
            reason: "because".to_owned(),
            fact: Some(fact),
            ..Default::default()
        };
        self.records.push(record.encode_to_vec());
    }

    fn evidence(&mut self, key: &SigningKey, body: evidence::Body) {
        self.sequence += 1;
        let evidence = wire::Evidence {
            machine: MachineId::derived_from(key.verifying_key().as_bytes()).to_string(),
            spool: "spl_1".to_owned(),
            sequence: self.sequence,
            previous: self.tip.clone(),
            observed_at_ms: self.now_ms(),
            body: Some(body),
            ..Default::default()
        };
        let signed = sign(key, Domain::Evidence, evidence.encode_to_vec());
        self.tip = hash(&signed.payload).to_vec();
        let received = wire::EvidenceReceived { evidence: Some(signed), ..Default::default() };
        self.add(Fact::EvidenceReceived(received.clone()));
        // A repeat is refused by the fold, and must not come out.
        self.add(Fact::EvidenceReceived(received));
    }

    fn report(&mut self, key: &SigningKey) {
        let found = wire::FoundProduct {
            product: "dsa".to_owned(),
            state: wire::ProductState::Active.into(),
            version: "20.0".to_owned(),
            ..Default::default()
        };
        self.evidence(
            key,
            evidence::Body::Report(wire::Report { products: vec![found], ..Default::default() }),
        );
    }

    fn order(&mut self, key: &SigningKey, order: &str, action: Action) {
        let placed = wire::Order {
            order: order.to_owned(),
            machine: MachineId::derived_from(key.verifying_key().as_bytes()).to_string(),
            action: action.into(),
            product: "dsa".to_owned(),
            ..Default::default()
        };
        let signed = sign(key, Domain::Order, placed.encode_to_vec());
        self.add(Fact::OrderPlaced(wire::OrderPlaced { order: Some(signed), ..Default::default() }));
        let result = wire::OrderResult {
            order: order.to_owned(),
            outcome: wire::Outcome::Done.into(),
            ..Default::default()
        };
        self.evidence(key, evidence::Body::OrderResult(result));
    }

    fn enrol(&mut self, key: &SigningKey) -> String {
        let claim = wire::EnrolmentClaim {
            public_key: key.verifying_key().to_bytes().to_vec(),
            token: "tok_1".to_owned(),
            ..Default::default()
        };
        let claim = Some(sign(key, Domain::EnrolmentClaim, claim.encode_to_vec()));
        self.add(Fact::EnrolmentRequested(wire::EnrolmentRequested { claim }));
        MachineId::derived_from(key.verifying_key().as_bytes()).to_string()
    }
}

/// One of each fact that counts, and some that do not.
fn journal() -> Vec<Vec<u8>> {
    let mut journal = Journal::default();
    let (one, two) = (new_key(), new_key());
    let customer = || "cus_a".to_owned();
    let founded = wire::Founded {
        reseller: "rsl_1".to_owned(),
        format: 1,
        service_key: vec![1; 32],
        statement_key: vec![2; 32],
    };
    journal.add(Fact::Founded(founded));
    journal.add(Fact::PolicySet(wire::PolicySet {
        toml: "zone = \"Europe/Berlin\"".to_owned(),
        ..Default::default()
    }));
    journal.add(Fact::CustomerAdded(wire::CustomerAdded { customer: customer() }));
    journal.add(Fact::CustomerAdded(wire::CustomerAdded { customer: "cus_b".to_owned() }));
    journal.add(Fact::TokenCreated(wire::TokenCreated {
        token: "tok_1".to_owned(),
        customer: customer(),
        secret_hash: vec![0; 32],
        uses_max: 2,
        expires_at_ms: START_MS * 2,
        uses_per_hour: 0,
    }));
    let (first, second) = (journal.enrol(&one), journal.enrol(&two));
    // The token is used up: refused, and not in the export.
    journal.enrol(&new_key());
    journal.report(&one);
    let at_ms = journal.now_ms();
    journal.order(&one, "ord_1", Action::SwitchOff);
    journal.order(&one, "ord_2", Action::SwitchOn);
    journal.order(&one, "ord_3", Action::ReportNow);
    let (machine, kept, absorbed) = (first.clone(), first.clone(), second.clone());
    journal.add(Fact::MachineAssigned(wire::MachineAssigned {
        machine,
        customer: "cus_b".to_owned(),
        at_ms,
    }));
    for sku in [Some("DS".to_owned()), None] {
        let product = "dsa".to_owned();
        journal.add(Fact::SkuAssigned(wire::SkuAssigned { customer: customer(), product, sku, at_ms }));
    }
    journal.add(Fact::MachineRetired(wire::MachineRetired { machine: second, at_ms }));
    journal.add(Fact::MachinesMerged(wire::MachinesMerged {
        kept: kept.clone(),
        absorbed: absorbed.clone(),
        at_ms,
    }));
    journal.add(Fact::MachinesSplit(wire::MachinesSplit { kept, absorbed, at_ms: at_ms + 1 }));
    let flag = "possible_clone".to_owned();
    journal.add(Fact::MachineFlagged(wire::MachineFlagged { machine: first, flag, at_ms }));
    let (sku, receipt) = (|| "DS".to_owned(), || "r1".to_owned());
    let suspended = wire::LicenceSuspended { customer: customer(), sku: sku(), at_ms, receipt: receipt() };
    journal.add(Fact::LicenceSuspended(suspended));
    let resumed =
        wire::LicenceResumed { customer: customer(), sku: sku(), at_ms: at_ms + 1, receipt: receipt() };
    journal.add(Fact::LicenceResumed(resumed));
    let period = || "2026-09".to_owned();
    let declared = wire::Declared { customer: customer(), sku: sku(), period: period(), quantity: 40, at_ms };
    journal.add(Fact::Declared(declared));
    for _ in 0..2 {
        // Equal twice, and both count.
        let adjusted =
            wire::Adjusted { customer: customer(), sku: sku(), period: period(), delta: -1, at_ms };
        journal.add(Fact::Adjusted(adjusted));
    }
    journal.records
}

#[test]
fn a_replay_gives_out_what_the_fold_counted() {
    let mut fold = Fold::default();
    let mut lines = String::new();
    for record in journal() {
        if let (_, Some(counted)) = fold.replay(&record).unwrap() {
            lines.push_str(&counted.to_json_line());
            lines.push('\n');
        }
    }
    let records = Record::parse_jsonl(&lines).unwrap();
    let zone = Zone::named("Europe/Berlin").unwrap();
    assert_eq!(RecordSet::new(records, None).usage(&zone), *fold.usage());
    for kind in [
        "report",
        "switched_off",
        "switched_on",
        "machine_assigned",
        "sku_assigned",
        "machine_retired",
        "machines_merged",
        "machines_split",
        "machine_flagged",
        "licence_suspended",
        "licence_resumed",
        "declared",
        "adjusted",
    ] {
        assert!(lines.contains(&format!("\"type\":\"{kind}\"")), "{kind} in\n{lines}");
    }
    let count = |kind: &str| lines.matches(&format!("\"type\":\"{kind}\"")).count();
    assert_eq!((count("report"), count("adjusted"), count("machine_assigned")), (1, 2, 3));
}
