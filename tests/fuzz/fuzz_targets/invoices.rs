//! A distributor's invoice, with the file that says what its columns are. Invariant: it is taken whole or not at all: of
//! what is taken each row is of a customer and a SKU that are known, and each fault has a line that the file has.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, parts, text};
use seatbeat_ledger::prices::read::{File, Reading};
use seatbeat_ledger::reconciliation::read::{Columns, Directory, invoice};

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let [columns, csv] = parts(bytes);
    let Some(columns) = text(columns) else { return };
    let Ok(columns) = bounded(columns.len(), 4096, || Columns::parse(columns)) else { return };
    let mut directory = Directory {
        customers: ["cus_acme", "cus_zeta"].map(|id| id.parse().expect("it is an id")).into(),
        skus: ["A", "WF-SVC"].map(|sku| sku.parse().expect("it is a SKU")).into(),
        currencies: ["EUR", "USD", "JPY"].map(str::to_owned).into(),
        ..Directory::default()
    };
    for (name, customer) in [("Acme GmbH", "cus_acme"), ("Zeta", "cus_zeta"), ("Zeta", "cus_acme")] {
        Directory::call(&mut directory.names, name, customer.parse().expect("it is an id"));
    }
    let file = File { name: "invoice.csv".to_owned(), bytes: csv.to_vec() };
    let reading = Reading { decimal_comma: mode & 1 == 1, ignores_columns: true };
    match bounded(bytes.len(), 4096, || invoice(&file, &columns, &directory, reading)) {
        Ok(invoice) => {
            assert!(directory.currencies.contains(&invoice.currency) && !invoice.rows.is_empty());
            let known = |(customer, sku): &(_, _)| {
                directory.customers.contains(customer) && directory.skus.contains(sku)
            };
            assert!(invoice.rows.keys().all(known));
        }
        Err(problems) => {
            let lines = csv.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            assert!(problems.count > 0 && problems.first.iter().all(|problem| problem.line <= lines));
        }
    }
});
