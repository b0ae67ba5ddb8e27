//! Files of licences: products, SKUs, seats, activation codes. Invariant: of what is taken lines never fall and stand in the
//! file (a lone `\r` ends a row, and no line), codes are whole, and no code of the column for codes is repeated in what is said of the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_collector::console::licences::file::{masked, read_rows};
use seatbeat_fuzz::bounded;

/// A code that the seeds have.
const CODE: &str = "PM-AAAA-BBBBB-CCCCC-DDDDD-EEEEE-FFFFF";

fuzz_target!(|bytes: &[u8]| {
    let (rows, problems) = bounded(bytes.len(), 4096, || read_rows(bytes));
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    assert!(
        rows.iter()
            .map(|(line, _)| *line)
            .chain(problems.first.iter().map(|one| one.line))
            .all(|line| line <= lines)
    );
    assert!(rows.is_sorted_by_key(|row| row.0));
    for (_, row) in &rows {
        assert!(row.seats > 0 && !row.product.is_family());
        let Some(code) = &row.code else { continue };
        assert_eq!(code.len(), CODE.len());
        assert!(!masked(code).contains(code.as_str()));
        // Where a code is in its own column alone, nothing that is said of the file tells it.
        let in_file = String::from_utf8_lossy(bytes).to_uppercase().matches(code.as_str()).count();
        if in_file == 1 {
            assert!(problems.first.iter().all(|one| !one.what.contains(code.as_str())), "{problems:?}");
        }
    }
});
