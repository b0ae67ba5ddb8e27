//! A table whose old months go to an archive. Invariant: whoever opened the journal, and whenever, reads what was appended,
//! whatever cut the move off.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use seatbeat_ledger::merkle::{Frontier, Hash, leaf};
use seatbeat_postgres::{Proxy, Server};
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::journal::segment::path_of;
use crate::journal::{FileJournal, Index, Journal as _, Lease, PostgresJournal, SharedJournal, copy};
use crate::postgres::testing::{self, address_at, age, migrated, shared};

/// A dozen records or so.
const SEGMENT_BYTES: u64 = 700;

/// Of the lease that nobody asked for yet.
const FENCE: i64 = 0;

/// A database with a journal, a place for what is old, and what was appended.
struct Desk {
    server: Arc<Server>,
    database: String,
    journal: PostgresJournal,
    pruner: Pruner,
    place: TempDir,
    written: Vec<Vec<u8>>,
    months: i32,
}

impl Desk {
    fn new() -> Option<Self> {
        let server = shared()?;
        let (database, address) = migrated(&server);
        let journal = PostgresJournal::open(address.clone()).unwrap();
        let pruner = Pruner::new(address, SEGMENT_BYTES).unwrap();
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("archive")).unwrap();
        Some(Self { server, database, journal, pruner, place, written: Vec::new(), months: 202_000 })
    }

    /// With two months that are over, and one that is not.
    fn of_three_months() -> Option<Self> {
        let mut desk = Self::new()?;
        for count in [40, 25] {
            desk.write(count);
            desk.ends_a_month();
        }
        desk.write(10);
        Some(desk)
    }

    fn address(&self) -> Address {
        testing::address(&self.server, &self.database)
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("archive")
    }

    fn objects(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder()).unwrap();
        let mut objects: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        objects.sort();
        objects
    }

    fn write(&mut self, count: usize) {
        let record = |number: usize| format!("record {number:04} {}", "x".repeat(number % 60)).into_bytes();
        let records: Vec<Vec<u8>> = (self.written.len()..).take(count).map(record).collect();
        self.journal.append(&records).unwrap();
        self.written.extend(records);
    }

    fn ends_a_month(&mut self) {
        self.months += 1;
        age(&self.server, &self.database, self.months);
    }

    fn archive(&self) -> Arc<Archive> {
        self.pruner.archive(self.folder().to_str().unwrap()).unwrap()
    }

    fn step_of(&self, pruner: &Pruner, fence: i64) -> Result<Option<Pruned>, JournalError> {
        let archive = pruner.archive(self.folder().to_str().unwrap())?;
        pruner.look()?.oldest().map_or(Ok(None), |month| pruner.step(month, &archive, fence))
    }

    fn step(&self) -> Result<Option<Pruned>, JournalError> {
        self.step_of(&self.pruner, FENCE)
    }

    /// Until there is nothing left to do; how many months went.
    fn prune(&self) -> usize {
        let steps = std::iter::from_fn(|| self.step().unwrap());
        steps.filter(|step| matches!(step, Pruned::Dropped(_))).count()
    }

    /// Until the oldest month is about to go.
    fn archive_a_month(&self) -> Month {
        let oldest = self.pruner.look().unwrap().oldest().unwrap();
        while self.pruner.look().unwrap().archived.end() < oldest.end {
            assert!(matches!(self.step().unwrap(), Some(Pruned::Archived(_))));
        }
        oldest
    }

    /// By who opened it long ago, and by who opens it now.
    fn check(&self) {
        self.check_read(&self.journal);
        self.check_read(&PostgresJournal::open(self.address()).unwrap());
    }

    fn check_read(&self, journal: &PostgresJournal) {
        assert_eq!(journal.look_again(), Position(self.written.len() as u64));
        let records = journal.read_from(Position(0), usize::MAX).unwrap();
        let numbers = records.iter().map(|(position, _)| position.0);
        assert!(numbers.eq(0..self.written.len() as u64));
        assert!(records.iter().map(|(_, record)| record).eq(&self.written));
        for from in (0..self.written.len()).step_by(7) {
            let read = journal.read_from(Position(from as u64), 3).unwrap();
            let expected = self.written[from..].iter().take(3);
            assert!(read.iter().map(|(_, record)| record).eq(expected), "from {from}");
        }
        assert!(journal.read_from(Position(self.written.len() as u64), 3).unwrap().is_empty());
    }

    fn root(&self) -> Hash {
        let mut log = Frontier::default();
        self.written.iter().for_each(|record| log.append_leaf(leaf(record)));
        log.root()
    }
}

impl PostgresJournal {
    fn look_again(&self) -> Position {
        self.engine.wait(self.inside().look()).unwrap()
    }
}

fn unpacked(object: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut packed = flate2::read::GzDecoder::new(fs::File::open(object).unwrap());
    std::io::Read::read_to_end(&mut packed, &mut bytes).unwrap();
    bytes
}

#[test]
fn months_that_are_over_go_and_everybody_reads_on() {
    let Some(mut desk) = Desk::of_three_months() else { return };
    let before = PostgresJournal::open(desk.address()).unwrap();
    assert_eq!(desk.prune(), 2);
    assert_eq!(desk.pruner.look().unwrap().months.len(), 1, "the one that is written to stays");
    assert_eq!(desk.journal.begins(), Position(0), "it has not heard of it");
    desk.check();
    assert_eq!(desk.journal.begins(), Position(65));
    desk.write(5);
    assert_eq!(before.read_from(Position(64), 1).unwrap()[0].1, desk.written[64]);
    desk.check_read(&before);
    desk.ends_a_month();
    assert_eq!(desk.prune(), 0, "nothing was written since");
    desk.write(1);
    assert_eq!(desk.prune(), 1);
    desk.check();
}

#[test]
fn what_is_archived_is_segments_as_a_journal_in_files_has_them() {
    let Some(desk) = Desk::of_three_months() else { return };
    desk.prune();
    let archived = desk.pruner.look().unwrap().archived.segments;
    assert!(archived.len() > 4, "{archived:?}");
    assert!(archived.iter().all(|segment| segment.bytes <= SEGMENT_BYTES));
    assert!(archived.iter().any(|segment| segment.end() == Position(40)), "none reaches over a month's end");
    let folder = tempfile::tempdir().unwrap();
    for segment in &archived {
        let bytes = unpacked(&desk.folder().join(&segment.object));
        fs::write(path_of(folder.path(), segment.first), bytes).unwrap();
    }
    let files = FileJournal::open(folder.path()).unwrap();
    let read = files.read_from(Position(0), usize::MAX).unwrap();
    assert!(read.iter().map(|(_, record)| record).eq(&desk.written[..65]));
}

#[test]
fn a_copy_that_is_begun_behind_the_archive_and_one_that_was_there_have_the_same_root() {
    let Some(mut desk) = Desk::new() else { return };
    let folders = tempfile::tempdir().unwrap();
    let address = desk.address();
    let open = |name: &str| {
        let folder = folders.path().join(name);
        SharedJournal::open_in_segments(&address, &folder, Position(0), SEGMENT_BYTES).unwrap()
    };
    let mut early = open("early");
    for _ in 0..2 {
        for _ in 0..8 {
            desk.write(5);
            early.look().unwrap();
        }
        desk.ends_a_month();
    }
    for _ in 0..6 {
        desk.write(5);
        early.look().unwrap();
    }
    desk.prune();
    let mut late = open("late");
    assert_eq!(late.copy().reader().begins(), Position(80), "the rest is read in the archive");
    let index = desk.pruner.look().unwrap().archived;
    assert!(early.copy().archiver().follow(&index).unwrap());
    assert!(early.copy().reader().begins() > Position(40), "there is room again");
    assert!(!early.copy().archiver().follow(&index).unwrap());
    desk.write(3);
    for journal in [&mut early, &mut late] {
        journal.look().unwrap();
        let read = journal.read_from(Position(0), usize::MAX).unwrap();
        assert!(read.iter().map(|(_, record)| record).eq(&desk.written));
    }
    // A start with each of them, one that finds the index damaged, too.
    drop((early, late));
    fs::write(folders.path().join("late").join(crate::journal::INDEX), "{").unwrap();
    for name in ["early", "late"] {
        let mut target = FileJournal::open(&folders.path().join(format!("{name}.files"))).unwrap();
        assert_eq!(copy(&open(name), &mut target, |_, _| ()).unwrap().root, desk.root(), "{name}");
    }
    // And from a store that reads its older part in the archive to a database.
    let (_, address) = migrated(&desk.server);
    let mut table = PostgresJournal::open(address).unwrap();
    assert_eq!(copy(&open("late"), &mut table, |_, _| ()).unwrap().root, desk.root());
    let mut target = FileJournal::open(&folders.path().join("whole")).unwrap();
    assert_eq!(copy(&desk.journal, &mut target, |_, _| ()).unwrap().root, desk.root());
}

#[test]
fn a_move_that_was_cut_off_at_any_step_is_gone_on_with() {
    let Some(desk) = Desk::of_three_months() else { return };
    // Put, and not named.
    let next = desk.pruner.look().unwrap().archived.header_behind().unwrap();
    let packed = desk.pruner.pack(&mut desk.pruner.inside(), next, Position(40)).unwrap();
    desk.archive().put(next.first, packed.records, &packed.bytes, packed.link).unwrap();
    desk.check();
    let another = Pruner::new(desk.address(), SEGMENT_BYTES).unwrap();
    assert!(matches!(desk.step_of(&another, FENCE).unwrap(), Some(Pruned::Archived(_))));
    assert_eq!(desk.objects().len(), 1, "what is there is not put once more");
    desk.check();
    // Named as a whole, and not dropped.
    desk.archive_a_month();
    desk.check();
    let third = Pruner::new(desk.address(), SEGMENT_BYTES).unwrap();
    assert!(matches!(desk.step_of(&third, FENCE).unwrap(), Some(Pruned::Dropped(_))));
    desk.check();
    // Named and dropped behind a line that loses commits and their answers.
    let proxy = Proxy::before(desk.server.port);
    let through = Pruner::new(address_at(proxy.port, &desk.database), SEGMENT_BYTES).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while desk.pruner.look().unwrap().oldest().is_some() && Instant::now() < until {
        desk.step_of(&through, FENCE).unwrap();
    }
    assert_eq!(desk.pruner.look().unwrap().begins(), Position(65));
    desk.check();
}

#[test]
fn a_month_stays_while_the_archive_has_not_all_of_it() {
    let Some(mut desk) = Desk::of_three_months() else { return };
    desk.archive_a_month();
    let object = desk.objects().remove(1);
    let whole = fs::read(&object).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(&object, changed).unwrap();
    let error = desk.step().unwrap_err();
    assert!(error.to_string().contains("is not what was put there") && error.hint().is_some(), "{error}");
    fs::remove_file(&object).unwrap();
    let error = desk.step().unwrap_err();
    assert!(error.hint().unwrap().contains("bring the archive back"), "{error}");
    desk.check();
    fs::write(&object, whole).unwrap();
    assert!(matches!(desk.step().unwrap(), Some(Pruned::Dropped(_))));

    let away = desk.place.path().join("away");
    fs::rename(desk.folder(), &away).unwrap();
    assert!(desk.step().is_err(), "the next month stays");
    assert_eq!(desk.pruner.look().unwrap().begins(), Position(40));
    // Who starts meanwhile says where it looked, once somebody asks for what is there.
    let late = PostgresJournal::open(desk.address()).unwrap();
    let error = late.read_from(Position(3), 1).unwrap_err();
    assert!(error.to_string().contains("archive") && error.hint().is_some(), "{error}");
    assert_eq!(late.read_from(Position(40), 1).unwrap()[0].1, desk.written[40]);
    desk.write(2);
    fs::rename(&away, desk.folder()).unwrap();
    assert_eq!(desk.prune(), 1);
    desk.check();
}

#[test]
fn whoever_does_not_run_the_jobs_any_more_moves_and_drops_nothing() {
    let Some(desk) = Desk::of_three_months() else { return };
    let engine = Engine::start().unwrap();
    let mut lease = Lease::new(desk.address());
    let fence = engine.wait(lease.ask()).unwrap().unwrap().fence;
    let refused = || {
        let before = desk.pruner.look().unwrap();
        let error = desk.step().unwrap_err();
        assert!(matches!(error, JournalError::Postgres(PostgresError::Superseded { .. })), "{error}");
        assert_eq!(desk.pruner.look().unwrap(), before);
    };
    refused();
    let leads = || desk.step_of(&desk.pruner, fence).unwrap();
    while !matches!(leads(), Some(Pruned::Archived(of)) if of.end() == Position(40)) {}
    refused();
    assert!(matches!(leads(), Some(Pruned::Dropped(_))));
    desk.check();
}

#[test]
fn a_month_that_somebody_reads_goes_later_and_appending_waits_for_a_moment_at_most() {
    let Some(mut desk) = Desk::of_three_months() else { return };
    desk.archive_a_month();
    let (server, database) = (Arc::clone(&desk.server), desk.database.clone());
    let reading = thread::spawn(move || {
        // As `pg_dump` does, for as long as it takes.
        server.sql(&database, "LOCK TABLE seatbeat.records IN ACCESS SHARE MODE; SELECT pg_sleep(5)");
    });
    thread::sleep(Duration::from_millis(500));
    thread::scope(|scope| {
        let pruner = &desk.pruner;
        let (archive, month) = (desk.archive(), pruner.look().unwrap().oldest().unwrap());
        let dropping = scope.spawn(move || pruner.step(month, &archive, FENCE).unwrap());
        thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        desk.journal.append(&[b"meanwhile".to_vec()]).unwrap();
        desk.written.push(b"meanwhile".to_vec());
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(dropping.join().unwrap(), None);
    });
    assert!(!reading.is_finished(), "it was read all the while");
    reading.join().unwrap();
    assert!(matches!(desk.step().unwrap(), Some(Pruned::Dropped(_))));
    desk.check();
}

#[test]
fn records_that_somebody_took_away_are_named_and_nothing_is_counted_over_them() {
    let refused = |prune: bool, statements: &str, expected: &str| {
        let Some(desk) = Desk::of_three_months() else { return };
        if prune {
            desk.archive_a_month();
            desk.step().unwrap();
        }
        desk.server.sql(&desk.database, statements);
        let error = PostgresJournal::open(desk.address()).err().expect("it is refused");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("never by hand")), "{error}");
        assert!(PostgresJournal::look_at(&desk.address()).is_err(), "the doctor says so, too");
        assert!(desk.step().is_err(), "and nothing is moved");
    };
    let forget = "DELETE FROM seatbeat.months WHERE month =";
    refused(false, "DROP TABLE seatbeat.records_202001", "lacks the records from 0 up to 40");
    refused(
        false,
        &format!("DROP TABLE seatbeat.records_202001; {forget} 202001"),
        "lacks the records from 0 up to 40",
    );
    refused(
        false,
        "ALTER TABLE seatbeat.records DETACH PARTITION seatbeat.records_202002",
        "lacks the records from 40 up to 65",
    );
    refused(
        true,
        &format!("DROP TABLE seatbeat.records_202002; {forget} 202002"),
        "lacks the records from 40 up to 65",
    );
    refused(false, "DELETE FROM seatbeat.records WHERE position = 39", "lacks the records from 0 up to 40");
    refused(true, "DELETE FROM seatbeat.archived WHERE first = 0", "lacks the records from 0 up to");
    refused(true, "DELETE FROM seatbeat.archived", "lacks the records from 0 up to 40");
}

#[test]
fn what_is_read_is_what_was_appended_whatever_went_when() {
    for seed in 0..6_u64 {
        let Some(mut desk) = Desk::new() else { return };
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: u64| {
            // xorshift
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let early = PostgresJournal::open(desk.address()).unwrap();
        desk.write(1);
        let mut of_month = 1;
        for _ in 0..30 {
            match draw(4) {
                0 => {
                    let count = 1 + draw(30) as usize;
                    desk.write(count);
                    of_month += count;
                }
                1 if of_month > 0 => {
                    desk.ends_a_month();
                    desk.write(1);
                    of_month = 1;
                }
                _ => {
                    desk.step().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                }
            }
            let from = draw(desk.written.len() as u64);
            let read = early.read_from(Position(from), 9).unwrap();
            let expected = desk.written[from as usize..].iter().take(9);
            assert!(read.iter().map(|(_, record)| record).eq(expected), "seed {seed}: from {from}");
        }
        desk.check();
        desk.prune();
        desk.check();
        let index: Index = desk.pruner.look().unwrap().archived;
        assert_eq!(index.gap(), None, "seed {seed}");
    }
}
