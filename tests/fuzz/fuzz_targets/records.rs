//! Records and sealed bodies as `seatbeat export` writes them. Invariant: a line that is read is written down so that it is
//! read equal; a statement is a function of the set of records, in whatever order they stand.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, now, parts, same, text};
use seatbeat_ledger::body::SealedBody;
use seatbeat_ledger::meter::{MeterInput, meter};
use seatbeat_ledger::record::Record;

const POLICY: &str = r#"
zone = "Europe/Berlin"
presume_days = 3
[default_sku]
a = "A"
dsa = "DS"
wfbs-svc = "WF"
[sku.A]
price_group = "g"
count = "average"
[price_group.g]
distributor = "ingram"
currency = "USD"
tiers = [{ from = 1, cost = "2.10" }, { from = 4, cost = "1.80" }]
[price.A]
reseller = "4.00"
"#;

/// Lines that are metered: a month of a small customer.
const LINES_MAX: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    let [records, sealed] = parts(bytes);
    let (Some(records), Some(sealed)) = (text(records), text(sealed)) else { return };
    if let Ok(bodies) = bounded(sealed.len(), 2048, || SealedBody::parse_array(sealed)) {
        same(&SealedBody::parse_array(sealed), &Ok(bodies));
    }
    let read: Result<Vec<Record>, _> = bounded(records.len(), 1024, || Record::parse_jsonl(records));
    let Ok(read) = read else { return };
    for record in &read {
        same(&Record::parse_line(&record.to_json_line()).as_ref(), &Ok(record));
    }
    if read.len() > LINES_MAX {
        return;
    }
    let of = |records: &str| {
        let period = "2026-10".parse().expect("it is a month");
        let sealed = (!sealed.is_empty()).then_some(sealed);
        meter(MeterInput { records, policy: POLICY, period, as_of: Some(now()), sealed })
    };
    let backwards: Vec<String> = read.iter().rev().map(Record::to_json_line).collect();
    let (one, other) = (of(records), of(&backwards.join("\n")));
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
});
