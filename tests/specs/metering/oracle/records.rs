//! Records as a set: read, made one where they are the same, cut off, and named by their joined machines.
//! The order and the number of times a line stands in the file is lost here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde_json::Value;

use super::Account;
use super::calendar::Calendar;

#[derive(Clone, Debug)]
pub(super) struct Report {
    /// As it came.
    pub(super) machine: String,
    /// The smallest id of the machines it is joined with.
    pub(super) joined: String,
    pub(super) spool: String,
    pub(super) sequence: i64,
    pub(super) observed_at: Timestamp,
    pub(super) received_at: Timestamp,
    /// The usage day of `observed_at`.
    pub(super) day: Date,
    /// Product to state.
    pub(super) products: BTreeMap<String, String>,
    /// Everything but `received_at`, spelled one way.
    pub(super) content: String,
}

impl Report {
    /// Why it is not accepted.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        if self.observed_at > self.received_at + 10.minutes() {
            Some("clock_ahead")
        } else if self.received_at > self.observed_at + (62 * 24).hours() {
            Some("too_old")
        } else {
            None
        }
    }

    pub(super) fn is_active(&self, product: &str) -> bool {
        self.products.get(product).is_some_and(|state| state == "active")
    }

    /// Every product that is not listed as `unknown`, the ones left out included.
    pub(super) fn settles(&self, product: &str) -> bool {
        self.products.get(product).is_none_or(|state| state != "unknown")
    }
}

/// Any record but a report.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) kind: String,
    pub(super) at: Timestamp,
    body: Value,
}

impl Fact {
    pub(super) fn maybe(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }

    pub(super) fn text(&self, field: &str) -> &str {
        self.maybe(field).expect("a record has its fields")
    }

    pub(super) fn number(&self, field: &str) -> i64 {
        self.body.get(field).and_then(Value::as_i64).expect("a record has its numbers")
    }

    pub(super) fn is_for(&self, account: &Account, period: &str) -> bool {
        self.text("customer") == account.0 && self.text("sku") == account.1 && self.text("period") == period
    }
}

fn instant(record: &Value, field: &str) -> Timestamp {
    let text = record.get(field).and_then(Value::as_str).expect("a record has its instants");
    text.parse().expect("an RFC 3339 instant")
}

/// The same record for every spelling of it.
fn canonical(record: &Value) -> Value {
    let mut record = record.clone();
    if record["type"] != "report" && record.get("recorded_at").is_none() {
        record["recorded_at"] = record["at"].clone();
    }
    for field in ["at", "recorded_at", "observed_at", "received_at"] {
        if record.get(field).is_some() {
            record[field] = instant(&record, field).to_string().into();
        }
    }
    if let Some(products) = record.get_mut("products").and_then(Value::as_array_mut) {
        products.sort_by_key(Value::to_string);
    }
    record
}

/// Reports (accepted or not) and facts that were known at the cut-off.
pub(super) fn read(text: &str, as_of: Option<Timestamp>, calendar: &Calendar) -> (Vec<Report>, Vec<Fact>) {
    let known = |at: Timestamp| as_of.is_none_or(|as_of| at <= as_of);
    let mut reports: BTreeMap<String, (Value, Timestamp)> = BTreeMap::new();
    let mut facts: BTreeSet<String> = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut record = canonical(&serde_json::from_str(line).expect("a record is JSON"));
        if record["type"] == "report" {
            let received_at = instant(&record, "received_at");
            record.as_object_mut().expect("a record is an object").remove("received_at");
            let earliest = reports.entry(record.to_string()).or_insert((record, received_at));
            earliest.1 = earliest.1.min(received_at);
        } else if known(instant(&record, "recorded_at")) {
            facts.insert(record.to_string());
        }
    }
    reports.retain(|_, (_, received_at)| known(*received_at));
    let mut facts: Vec<Fact> = facts.iter().map(|text| read_fact(text)).collect();
    let reports: Vec<(String, Value, Timestamp)> =
        reports.into_iter().map(|(content, (record, received_at))| (content, record, received_at)).collect();
    let names = joined_names(&facts);
    let joined = |machine: &str| names.get(machine).cloned().unwrap_or_else(|| machine.to_owned());
    for fact in &mut facts {
        if let Some(machine) = fact.maybe("machine").map(joined) {
            fact.body["machine"] = machine.into();
        }
    }
    let read_report = |(content, record, received_at): (String, Value, Timestamp)| {
        let text = |field: &str| record[field].as_str().expect("a report has its fields").to_owned();
        let products = record["products"].as_array().expect("a report has products").iter().map(|product| {
            let text = |field: &str| product[field].as_str().expect("a product has a state").to_owned();
            (text("product"), text("state"))
        });
        let observed_at = instant(&record, "observed_at");
        Report {
            joined: joined(&text("machine")),
            machine: text("machine"),
            spool: text("spool"),
            sequence: record["sequence"].as_i64().expect("a report has a sequence"),
            observed_at,
            received_at,
            day: calendar.day_of(observed_at),
            products: products.collect(),
            content,
        }
    };
    (reports.into_iter().map(read_report).collect(), facts)
}

fn read_fact(text: &str) -> Fact {
    let body: Value = serde_json::from_str(text).expect("a canonical record");
    let kind = body["type"].as_str().expect("a record has a type").to_owned();
    Fact { kind, at: instant(&body, "at"), body }
}

/// For an unordered pair the latest record decides, at the same instant the split;
/// the joined are known by their smallest id.
fn joined_names(facts: &[Fact]) -> BTreeMap<String, String> {
    let pair = |fact: &Fact| {
        let mut pair = [fact.text("kept").to_owned(), fact.text("absorbed").to_owned()];
        pair.sort();
        pair
    };
    let mut decided: BTreeMap<[String; 2], (Timestamp, bool)> = BTreeMap::new();
    for fact in facts.iter().filter(|fact| fact.kind == "machines_merged" || fact.kind == "machines_split") {
        let decision = (fact.at, fact.kind == "machines_split");
        let latest = decided.entry(pair(fact)).or_insert(decision);
        *latest = decision.max(*latest);
    }
    let merged: Vec<&[String; 2]> =
        decided.iter().filter(|(_, (_, split))| !split).map(|(pair, _)| pair).collect();
    let mut names: BTreeMap<String, String> = merged
        .iter()
        .flat_map(|pair| pair.iter().map(|machine| (machine.clone(), machine.clone())))
        .collect();
    loop {
        let before = names.clone();
        for [one, other] in &merged {
            let smallest = names[one].clone().min(names[other].clone());
            names.insert(one.clone(), smallest.clone());
            names.insert(other.clone(), smallest);
        }
        if names == before {
            return names;
        }
    }
}
