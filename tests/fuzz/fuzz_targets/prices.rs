//! Price list files. Invariant: a list that is taken, put in force and written down is taken again and changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::{bounded, now, parts, same};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::policy::Policy;
use seatbeat_ledger::prices::PriceBook;
use seatbeat_ledger::prices::changes::changes;
use seatbeat_ledger::prices::check::{Checked, Gone, Known, Terms, check};
use seatbeat_ledger::prices::read::{File, PROBLEMS_MAX, Problems, Reading};
use seatbeat_ledger::prices::write::files;
use seatbeat_proto::ids::PriceListId;

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let given: [&[u8]; 3] = parts(bytes);
    let named =
        ["skus.csv", "tiers.csv", "sell.csv"].into_iter().zip(given).filter(|(_, bytes)| !bytes.is_empty());
    let given: Vec<File> =
        named.map(|(name, bytes)| File { name: name.to_owned(), bytes: bytes.to_vec() }).collect();
    let reading = Reading { decimal_comma: mode & 1 == 1, ignores_columns: mode & 2 == 2 };
    let mut book = PriceBook::default();
    let taken = bounded(bytes.len(), 4096, || taken(&given, &book, reading));
    let list = match taken {
        Ok(checked) => checked.list,
        Err(problems) => {
            assert!(problems.count > 0 && problems.first.len() <= PROBLEMS_MAX);
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            assert!(problems.first.iter().all(|problem| problem.line <= lines));
            return;
        }
    };
    let id = PriceListId::derived_from(b"fuzz");
    if book.apply(&id, from(), list, now()).is_err() {
        return;
    }
    let held = book.in_force(from());
    let again = files(&held).map(|(name, text)| File { name: name.to_owned(), bytes: text.into_bytes() });
    // A file with nothing below its first line is refused, and says nothing.
    let again: Vec<File> = again
        .into_iter()
        .filter(|file| file.bytes.iter().filter(|byte| **byte == b'\n').count() > 1)
        .collect();
    if again.is_empty() {
        return;
    }
    let checked = self::taken(&again, &book, Reading::default()).expect("what was written is taken");
    let changed = changes(&book, from(), &checked.list, &checked.gone);
    assert!(changed.counts.is_nothing(), "{changed:?}");
    same(&checked.list, &held);
});

fn from() -> Period {
    "2026-10".parse().expect("it is a month")
}

fn taken(files: &[File], book: &PriceBook, reading: Reading) -> Result<Checked, Problems> {
    let terms = Terms {
        reading,
        gone: Gone::Keep,
        new_distributors: ["ingram", "td", "@td"].map(str::to_owned).into(),
    };
    let policy = book.laid_over(Policy::default(), from());
    check(files, &terms, &Known { book, policy: &policy, from: from(), is_customer: &|_| true })
}
