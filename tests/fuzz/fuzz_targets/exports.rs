//! Mappings of invoice lines to another program's columns. Invariant: a mapping that is taken makes, of any line, a row
//! with a cell for each column, in a file that a CSV reader reads back; no cell starts a formula.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_collector::outputs::mapping::Mapping;
use seatbeat_fuzz::{bounded, parts, text};
use seatbeat_ledger::invoice::InvoiceLine;

fuzz_target!(|bytes: &[u8]| {
    let [mapping, name, month] = parts(bytes);
    let (Some(mapping), Some(name)) = (text(mapping), text(name)) else { return };
    let Ok(mapping) = bounded(mapping.len(), 4096, || Mapping::named_or(mapping)) else { return };
    let line = InvoiceLine {
        customer: "cus_acme".parse().expect("it is an id"),
        customer_ref: name.to_owned(),
        period: "2026-09".parse().expect("it is a month"),
        sku: "WF-SVC".parse().expect("it is a SKU"),
        description: name.to_owned(),
        quantity: "-1".parse().expect("it is a quantity"),
        unit_price: "3.75".parse().expect("it is a price"),
        amount: "-3.75".parse().expect("it is an amount"),
        currency: "EUR".to_owned(),
        tax_code: name.to_owned(),
    };
    let month = text(month).and_then(|month| month.parse().ok());
    let month = month.unwrap_or_else(|| "2026-10".parse().expect("it is a month"));
    let table = mapping.table(month, &[line.clone(), line], &|_| name.to_owned());
    assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    let csv = table.to_csv();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_slice());
    let rows: Vec<csv::StringRecord> =
        reader.records().collect::<Result<_, _>>().expect("what was written is read");
    assert!(rows.iter().all(|row| row.len() == table.columns.len()));
    let is_number =
        |cell: &str| cell.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let starts = |cell: &str| cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    // What the columns are called is the administrator's own, to the letter.
    assert!(rows[1..].iter().flatten().all(|cell| !starts(cell) || is_number(cell)), "{rows:?}");
});
