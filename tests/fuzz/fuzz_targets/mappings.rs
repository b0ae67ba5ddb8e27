//! What destinations call customers and SKUs, as a CSV file. Invariant: rows that are taken and written down are taken
//! again as the same rows; each fault has a line that the file has.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_collector::distributor::destination::Column;
use seatbeat_collector::distributor::mapping_file::{read, write_rows};
use seatbeat_fuzz::{bounded, same};

const COLUMNS: [Column; 2] =
    [Column { name: "subscription", is_needed: true }, Column { name: "plan", is_needed: false }];

fuzz_target!(|bytes: &[u8]| {
    let rows = match bounded(bytes.len(), 4096, || read(bytes, &COLUMNS, |_, _| Ok(()))) {
        Ok(rows) => rows,
        Err(problems) => {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            assert!(problems.first.iter().all(|problem| problem.line <= lines), "{problems:?}");
            return;
        }
    };
    let written = write_rows(rows.iter().cloned(), &COLUMNS, &[]);
    same(&read(&written, &COLUMNS, |_, _| Ok(())), &Ok(rows));
});
