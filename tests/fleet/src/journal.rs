//! A made-up fleet as a journal has it: customers, tokens, machines with their facts, and reports with three products
//! each. Invariant: a seed decides every byte; nothing is signed, since nothing that is measured with it looks at
//! signatures.

use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, JournalRecord, evidence};

use crate::seed::Seed;

/// Machines of a customer, on average.
const MACHINES_OF_CUSTOMER: usize = 100;

/// The first day of the year that fleets live in.
pub const START: &str = "2026-01-01T00:00:00Z";

/// What all of them are billed by.
pub const POLICY: &str = r#"
presume_days = 7
[default_sku]
wfbs-svc = "WF-SVC"
dsa-cloud = "DS-CLOUD"
v1es = "V1-ES"
[sku.WF-SVC]
price_group = "worry-free"
[sku.DS-CLOUD]
count = "distinct"
price_group = "servers"
[sku.V1-ES]
count = "average"
[price_group.worry-free]
distributor = "ingram"
currency = "USD"
tiers = [{ from = 1, cost = "2.10" }, { from = 25, cost = "1.80" }]
[price_group.servers]
distributor = "ingram"
currency = "USD"
mode = "graduated"
tiers = [{ from = 1, cost = "4.10" }, { from = 100, cost = "3.90" }]
[price.WF-SVC]
reseller = "4.00"
"#;

/// Products of every machine, with the version and the signals that a report has of each.
pub const PRODUCTS: [(&str, &str); 3] =
    [("dsa-cloud", "20.0.2-7303"), ("v1es", "1.2.0.5534"), ("wfbs-svc", "6.7.3954")];

/// One machine and the end of its chain.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its id.
    pub id: MachineId,
    key: [u8; 32],
    spool: SpoolId,
    sequence: u64,
    previous: Vec<u8>,
}

/// Customer number `number`.
pub fn customer(number: usize) -> String {
    format!("cus_{number:05}")
}

/// The customer of machine number `number`.
pub fn customer_of(number: usize) -> String {
    customer(number / MACHINES_OF_CUSTOMER)
}

/// The start of the fleets' year.
pub fn start() -> Timestamp {
    START.parse().expect("the start is an instant")
}

fn record(at: Timestamp, actor: &str, fact: Fact) -> Vec<u8> {
    let (actor, reason) = (actor.to_owned(), String::new());
    JournalRecord {
        recorded_at_ms: at.as_millisecond(),
        actor,
        reason,
        fact: Some(fact),
        ..Default::default()
    }
    .encode_to_vec()
}

fn unsigned(payload: Vec<u8>) -> Option<wire::Signed> {
    Some(wire::Signed { payload, signature: vec![7; 64] })
}

/// The first records: whose journal it is, the policy, customers for so many machines with a token each.
pub fn foundation(machines: usize) -> Vec<Vec<u8>> {
    let at = start();
    let founded = wire::Founded {
        reseller: "rsl_bench".to_owned(),
        service_key: vec![1; 32],
        statement_key: vec![2; 32],
        ..wire::Founded::default()
    };
    let mut records = vec![
        record(at, "opr_bench", Fact::Founded(founded)),
        record(
            at,
            "opr_bench",
            Fact::PolicySet(wire::PolicySet { toml: POLICY.to_owned(), ..Default::default() }),
        ),
    ];
    for number in 0..machines.div_ceil(MACHINES_OF_CUSTOMER) {
        let added = wire::CustomerAdded { customer: customer(number) };
        records.push(record(at, "opr_bench", Fact::CustomerAdded(added)));
        let token = wire::TokenCreated {
            token: format!("tok_{number:05}"),
            customer: customer(number),
            secret_hash: vec![3; 32],
            uses_max: MACHINES_OF_CUSTOMER as u32,
            expires_at_ms: at.as_millisecond() + 1_000_000_000,
            uses_per_hour: 0,
        };
        records.push(record(at, "opr_bench", Fact::TokenCreated(token)));
    }
    records
}

impl Machine {
    /// Machine number `number` of a fleet.
    pub fn new(number: usize) -> Self {
        let mut seed = Seed::new(number as u64);
        let key = seed.bytes();
        let id = MachineId::derived_from(&key);
        let spool = SpoolId::derived_from(id.as_str().as_bytes());
        Self { id, key, spool, sequence: 0, previous: Vec::new() }
    }

    /// The record that lets it in.
    pub fn enrolment(&self, number: usize) -> Vec<u8> {
        let mut seed = Seed::new(!(number as u64));
        let mut fact = || seed.bytes::<16>().to_vec();
        let facts = wire::Facts {
            smbios_uuid: fact(),
            system_serial: fact(),
            board_serial: fact(),
            disk_serial: fact(),
            os_id: fact(),
            host_name: fact(),
            macs: vec![fact()],
            os: "windows".to_owned(),
            ..wire::Facts::default()
        };
        let claim = wire::EnrolmentClaim {
            token: format!("tok_{:05}", number / MACHINES_OF_CUSTOMER),
            public_key: self.key.to_vec(),
            agent_version: "0.1.0".to_owned(),
            facts: Some(facts),
            ..wire::EnrolmentClaim::default()
        };
        let requested = wire::EnrolmentRequested { claim: unsigned(claim.encode_to_vec()) };
        record(start(), self.id.as_str(), Fact::EnrolmentRequested(requested))
    }

    /// The record of its next report, observed at an instant.
    pub fn report(&mut self, at: Timestamp) -> Vec<u8> {
        self.sequence += 1;
        let products = PRODUCTS.map(|(product, version)| wire::FoundProduct {
            product: product.to_owned(),
            state: wire::ProductState::Active.into(),
            version: version.to_owned(),
            signals: vec![format!("service {product}"), format!("package {product}")],
            ..wire::FoundProduct::default()
        });
        let report = wire::Report {
            products: products.into(),
            agent_version: "0.1.0".to_owned(),
            ..wire::Report::default()
        };
        let evidence = wire::Evidence {
            machine: self.id.to_string(),
            spool: self.spool.to_string(),
            sequence: self.sequence,
            previous: std::mem::take(&mut self.previous),
            observed_at_ms: at.as_millisecond(),
            body: Some(evidence::Body::Report(report)),
            ..wire::Evidence::default()
        };
        let payload = evidence.encode_to_vec();
        self.previous = hash(&payload).to_vec();
        let received = wire::EvidenceReceived { evidence: unsigned(payload), ..Default::default() };
        record(at + SignedDuration::from_millis(700), self.id.as_str(), Fact::EvidenceReceived(received))
    }
}

/// When a machine reports on a day of the year, from 0; about one day in eight it is off.
pub fn observed_at(number: usize, day: usize) -> Option<Timestamp> {
    let mut seed = Seed::new((number as u64) << 16 | day as u64);
    let ms = (seed.next_number() % 86_000_000) as i64;
    let is_off = seed.next_number().is_multiple_of(8);
    let since = SignedDuration::from_hours(24 * day as i64) + SignedDuration::from_millis(ms);
    (!is_off).then(|| start() + since)
}
