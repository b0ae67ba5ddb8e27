//! Simulated machines that only report, and what the collector exports of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_fleet::machine::{Condition, Machine, Timeline};
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::wire;

use crate::desk::{Desk, text};

/// The machine's time of day.
pub fn now() -> Timestamp {
    seatbeat_collector::clock::Clock::real().now()
}

/// A machine on which one product is always active.
pub fn reporter(name: &str, seed: &Seed) -> Machine {
    let found = wire::FoundProduct {
        product: "dsa-cloud".to_owned(),
        state: wire::ProductState::Active.into(),
        version: "20.0.2".to_owned(),
        ..Default::default()
    };
    Machine::new(name, seed, Timeline::from(Timestamp::UNIX_EPOCH, Condition::Shows(Arc::from([found]))))
}

/// How often each place of each chain stands in what the collector exports.
pub fn exported(desk: &Desk, period: &str) -> BTreeMap<(String, u64), u32> {
    let folder = desk.path("export");
    desk.operator_ok(&["export", "--period", period, "--to", text(&folder)]);
    let mut places = BTreeMap::new();
    for line in std::fs::read_to_string(folder.join("records.jsonl")).expect("records are there").lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record is JSON");
        if record["type"] == "report" {
            let machine = record["machine"].as_str().expect("a machine has an id").to_owned();
            *places.entry((machine, record["sequence"].as_u64().expect("a number"))).or_default() += 1;
        }
    }
    places
}
