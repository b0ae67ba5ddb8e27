//! A store's books as the product opens them, and what they say. Invariant: two stores that say the same here say the same
//! to everybody: their records, the fold of them, and the vault's rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use prost::Message as _;
use seatbeat_collector::books::{Books, BooksError, encoded};
use seatbeat_collector::clock::Clock;
use seatbeat_collector::journal::Position;
use seatbeat_collector::vault::Sealed;
use seatbeat_ledger::fold::Fold;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{Evidence, JournalRecord};
use tokio::runtime::Runtime;

/// How often it is asked whether an alarm stands, a hundredth of a second apart.
const ALARM_TRIES: u32 = 1000;

/// What a store says.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Facts {
    pub records: Vec<Vec<u8>>,
    pub fold: Vec<u8>,
    pub vault: Vec<Sealed>,
}

/// What became of a store that was opened.
#[derive(Debug)]
pub enum Opened {
    /// It says this.
    Says(Facts),
    /// It counts as before, and an alarm tells that older records cannot be read.
    Alarmed {
        /// The fold.
        fold: Vec<u8>,
        /// The alarm's words.
        words: String,
    },
    /// It does not open; in these words.
    Refused(String),
}

/// An error and what it comes from, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words = format!("{words}: {error}");
        source = error.source();
    }
    words
}

/// Opens a store, and asks it for all that it knows.
pub fn open(store: &Path, runtime: &Runtime) -> Opened {
    let _inside = runtime.enter();
    let (books, end) = match Books::open(store, Clock::real()) {
        Ok(opened) => opened,
        Err(error) => return Opened::Refused(chain(&error)),
    };
    let fold = books.read(|fold| encoded(fold).1.expect("a fold can be written down"));
    let read = records(&books);
    let vault = books.vault().copy().map(|(_, rows)| rows);
    let opened = match (read, vault) {
        (Ok(records), Ok(vault)) => Opened::Says(Facts { records, fold, vault }),
        (Err(_), Ok(_)) => Opened::Alarmed { fold, words: alarm(&books) },
        (_, Err(error)) => Opened::Refused(chain(&error)),
    };
    drop(books);
    // A journal that failed says so when it is closed, and was read by then.
    let _ = runtime.block_on(end.close());
    opened
}

/// The words of the alarms, once one stands.
fn alarm(books: &Books) -> String {
    for _ in 0..ALARM_TRIES {
        let words = books.alarms().standing().join("; ");
        if !words.is_empty() {
            return words;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    String::new()
}

fn records(books: &Books) -> Result<Vec<Vec<u8>>, BooksError> {
    let mut all = Vec::new();
    loop {
        let read = books.records(Position(all.len() as u64), usize::MAX)?;
        if read.is_empty() {
            return Ok(all);
        }
        all.extend(read.into_iter().map(|(_, record)| record));
    }
}

/// The fold of records from the first on.
pub fn folded(records: &[Vec<u8>]) -> Vec<u8> {
    let mut fold = Fold::default();
    for record in records {
        fold.apply(record).expect("they were folded before");
    }
    encoded(&fold).1.expect("a fold can be written down")
}

/// How often each place of each chain stands in the records: of machine, spool and sequence.
pub fn places(records: &[Vec<u8>]) -> BTreeMap<(String, String, u64), u32> {
    let mut places = BTreeMap::new();
    for record in records {
        let record = JournalRecord::decode(record.as_slice()).expect("a record is one");
        let Some(Fact::EvidenceReceived(received)) = record.fact else { continue };
        let payload = received.evidence.expect("evidence is in it").payload;
        let evidence = Evidence::decode(payload.as_slice()).expect("evidence is some");
        *places.entry((evidence.machine, evidence.spool, evidence.sequence)).or_default() += 1;
    }
    places
}
