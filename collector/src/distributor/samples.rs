//! A sealed statement for tests of what hands it in. Invariant: the same bytes each time; one of its names is what a
//! spreadsheet would compute.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use seatbeat_ledger::body::StatementBody;
use seatbeat_ledger::mapping::{Fields, Mapping};
use seatbeat_ledger::sealed::{body_bytes, file, seal};
use seatbeat_proto::ids::CustomerId;
use serde_json::{Value, json};

use super::connector::Connector;
use super::drop_files::drop_files;
use super::projection::{OutFile, Outgoing, Projection};

/// When it was sealed.
const SEALED_AT: &str = "2026-11-05T08:30:00Z";

/// A sealed statement with all that a connector sees beside it.
pub struct Sample {
    /// What was sealed.
    pub body: StatementBody,
    /// The signed file.
    pub file: Vec<u8>,
    /// What customers are called.
    pub names: BTreeMap<CustomerId, String>,
    /// What the far side calls what is in it.
    pub mapping: Mapping,
    live: BTreeMap<(CustomerId, seatbeat_ledger::record::Sku), seatbeat_ledger::money::Quantity>,
}

impl Default for Sample {
    /// Two customers, three lines, one correction up.
    fn default() -> Self {
        Self::of(statement())
    }
}

impl Sample {
    /// Of this body.
    pub fn of(body: Value) -> Self {
        let body: StatementBody = serde_json::from_value(body).expect("a body");
        let key = SigningKey::from_bytes(&[7; 32]);
        let signed = seal(body_bytes(&body).expect("no number that is not whole"), &key);
        let file = file(&signed, key.verifying_key().as_bytes()).expect("canonical");
        let names = [("cus_acme", "=Acme, \"Ltd\""), ("cus_bolt", "Müller")];
        let names = names.map(|(id, name)| (id.parse().expect("an id"), name.to_owned()));
        Self { body, file, names: names.into(), mapping: Mapping::new(), live: BTreeMap::new() }
    }

    /// With a row of the mapping.
    pub fn mapped(mut self, customer: &str, sku: &str, fields: &[(&str, &str)]) -> Self {
        let fields: Fields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.mapping.insert((customer.parse().expect("an id"), sku.parse().expect("a SKU")), fields);
        self
    }

    /// With so many seats at the running month's high water.
    pub fn running(mut self, customer: &str, sku: &str, seats: u64) -> Self {
        let line = (customer.parse().expect("an id"), sku.parse().expect("a SKU"));
        self.live.insert(line, seatbeat_ledger::money::Quantity::units(seats));
        self
    }

    /// As a connector sees it.
    pub fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            body: &self.body,
            file: &self.file,
            sealed_at: SEALED_AT.parse::<Timestamp>().expect("an instant"),
            names: &self.names,
            live: &self.live,
            mapping: &self.mapping,
        }
    }

    /// What goes to a far side of it.
    pub fn project(&self, connector: &impl Connector) -> Projection {
        connector.project(&self.outgoing()).expect("it can be projected")
    }

    /// The files of it.
    pub fn files(&self) -> Vec<OutFile> {
        drop_files(&self.outgoing()).expect("it fits")
    }
}

/// A body to change before it is sealed.
pub fn statement() -> Value {
    let line =
        |customer: &str, sku: &str, confirmed: &str, presumed: &str, measured: &str, quantity: &str| {
            json!({
                "customer": customer, "sku": sku, "count": "high_water", "day": "2026-10-14",
                "confirmed": confirmed, "presumed": presumed, "measured": measured,
                "declared": "0", "adjusted": "0", "quantity": quantity,
                "distributor": "ingram", "unit_cost": "2.10", "cost": "25.20", "currency": "EUR",
            })
        };
    let mut declared = line("cus_bolt", "WF-SVC", "40", "2", "42", "45");
    declared["declared"] = json!("5");
    declared["adjusted"] = json!("-2");
    json!({
        "period": "2026-10", "zone": "Europe/Berlin",
        "lines": [
            line("cus_acme", "WF-ADV", "3", "0", "3", "3"),
            line("cus_acme", "WF-SVC", "12", "0", "12", "12"),
            declared,
        ],
        "corrections": [
            { "for_period": "2026-09", "customer": "cus_acme", "sku": "WF-SVC", "delta": "2", "cost": "4.20" },
        ],
        "totals": [], "flags": [], "blockers": [], "rejected": [],
        "distributor": "ingram", "revision": 1, "policy": {}, "rules_version": 1, "zone_data": "tzdata",
        "journal": { "size": 7, "root": "abc" },
    })
}
