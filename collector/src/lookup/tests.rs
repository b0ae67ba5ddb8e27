//! Search rows are whole or made anew, on the disk and in memory alike.

use super::*;
use crate::rows::damage::{files, fill, places, restore};

/// Runs that a closed lookup has on the disk.
const RUNS: u64 = 2;

fn machine(number: u64) -> MachineId {
    format!("mch_{number}").parse().unwrap()
}

/// The evidence at a position: that of machine 0, or of one of four others, which have as much of it.
fn place(position: u64) -> Place {
    Place::new(&machine(position % 5), position / 5 + 1, at(position as i64 / 20), Position(position))
}

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(day * SECONDS_PER_DAY + 7).unwrap()
}

fn bring(lookup: &Lookup, from: u64, to: u64) -> Brought {
    lookup.bring(Position(from), Position(to), (from..to).map(place))
}

/// A lookup that has the places of so many records, in pieces.
fn filled(folder: &Path, records: u64) -> Lookup {
    let lookup = Lookup::open(folder, Position(records)).unwrap();
    assert_eq!(lookup.reflected(), Position(0));
    for from in (0..records).step_by(1000) {
        if bring(&lookup, from, (from + 1000).min(records)) == Brought::RunFull {
            lookup.write_full_runs().unwrap();
        }
    }
    lookup
}

/// A closed lookup with [`RUNS`] on the disk, and a folder around it.
fn closed() -> (tempfile::TempDir, PathBuf) {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("lookup");
    let lookup = filled(&folder, RUNS * RUN_RECORDS + 9);
    let rows = Arc::clone(&lookup.known().as_ref().unwrap().rows);
    rows.sync().unwrap();
    (around, folder)
}

/// Opened again: sled's own threads let go of its files a moment after it is closed.
fn reopened(folder: &Path, journal_size: u64) -> Lookup {
    for _ in 0..1000 {
        match Lookup::open(folder, Position(journal_size)) {
            Err(LookupError::Rows(RowsError::InUse { .. })) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("`{}` stays in use", folder.display());
}

/// Opened, it has so many whole runs and nothing else: all, or what an earlier write left, or none.
fn check_whole_runs(folder: &Path, journal_size: u64, why: &str) -> u64 {
    let lookup = reopened(folder, journal_size);
    let end = lookup.reflected().0;
    assert!(end.is_multiple_of(RUN_RECORDS) && end <= RUNS * RUN_RECORDS, "{why}: {end}");
    for position in (0..RUNS * RUN_RECORDS).step_by(9973) {
        let found = lookup.evidence(&machine(position % 5), position / 5 + 1).unwrap();
        assert_eq!(found, if position < end { vec![Position(position)] } else { vec![] }, "{why}");
    }
    assert_eq!(lookup.recent(&machine(0), 99).unwrap().len(), if end > 0 { 99 } else { 0 }, "{why}");
    end / RUN_RECORDS
}

#[test]
fn after_a_restart_full_runs_are_found_and_the_rest_is_brought_again() {
    let (_around, folder) = closed();
    assert_eq!(check_whole_runs(&folder, RUNS * RUN_RECORDS, "as large as the journal"), RUNS);
    assert_eq!(check_whole_runs(&folder, RUNS * RUN_RECORDS + 31, "behind the journal"), RUNS);
}

#[test]
fn what_was_just_brought_is_found_at_once() {
    let around = tempfile::tempdir().unwrap();
    let lookup = filled(around.path(), 20);
    assert_eq!(lookup.reflected(), Position(20));
    assert_eq!(lookup.evidence(&machine(3), 2).unwrap(), [Position(8)]);
    assert_eq!(lookup.recent(&machine(3), 9).unwrap(), [18, 13, 8, 3].map(Position));
    assert_eq!(bring(&lookup, 20, 24), Brought::Kept);
    assert_eq!(lookup.recent(&machine(3), 2).unwrap(), [23, 18].map(Position));
    assert_eq!(lookup.recent(&machine(3), 0).unwrap(), []);
}

#[test]
fn a_machine_is_found_across_what_is_on_the_disk_and_in_memory() {
    let around = tempfile::tempdir().unwrap();
    let end = RUNS * RUN_RECORDS + 1234;
    let lookup = filled(around.path(), end);
    assert_eq!(lookup.known().as_ref().unwrap().recent.len(), 1234);
    let expected: Vec<_> = (0..end).rev().filter(|position| position % 5 == 2).map(Position).collect();
    assert_eq!(lookup.recent(&machine(2), usize::MAX).unwrap(), expected);
    assert_eq!(lookup.recent(&machine(2), 300).unwrap(), expected[..300]);
    assert_eq!(lookup.recent(&machine(7), 9).unwrap(), []);
    for position in [2, RUN_RECORDS - 1, RUN_RECORDS, RUN_RECORDS + 2, end - 1] {
        let found = lookup.evidence(&machine(position % 5), position / 5 + 1).unwrap();
        assert_eq!(found, [Position(position)]);
    }
}

#[test]
fn records_without_evidence_have_no_place_and_count() {
    let around = tempfile::tempdir().unwrap();
    let lookup = Lookup::open(around.path(), Position(0)).unwrap();
    assert_eq!(lookup.bring(Position(0), Position(RUN_RECORDS - 1), []), Brought::Kept);
    let last = Place::new(&machine(1), 7, at(3), Position(RUN_RECORDS));
    assert_eq!(lookup.bring(Position(RUN_RECORDS - 1), Position(RUN_RECORDS + 1), [last]), Brought::RunFull);
    lookup.write_full_runs().unwrap();
    drop(lookup);
    let lookup = reopened(around.path(), RUN_RECORDS + 1);
    assert_eq!(lookup.reflected(), Position(RUN_RECORDS));
    assert_eq!(lookup.recent(&machine(1), 9).unwrap(), []);
}

#[test]
fn every_place_at_one_sequence_is_found_the_oldest_first() {
    let around = tempfile::tempdir().unwrap();
    let lookup = Lookup::open(around.path(), Position(0)).unwrap();
    let stands = |position| Place::new(&machine(1), 3, at(1), Position(position));
    assert_eq!(lookup.bring(Position(0), Position(9), [stands(1), stands(4)]), Brought::Kept);
    assert_eq!(lookup.evidence(&machine(1), 3).unwrap(), [1, 4].map(Position));
    let beyond_half = 3 + (1 << 32);
    assert_eq!(lookup.evidence(&machine(1), beyond_half).unwrap().len(), 2, "the journal tells them apart");
    assert_eq!(lookup.evidence(&machine(1), 4).unwrap(), []);
}

#[test]
fn evidence_is_found_by_the_days_around_some_instants() {
    let around = tempfile::tempdir().unwrap();
    let lookup = filled(around.path(), RUN_RECORDS + 40);
    let found = |first, end| -> Vec<u64> {
        lookup.around(&machine(1), at(first), at(end)).unwrap().iter().map(|one| one.0).collect()
    };
    assert_eq!(found(1, 2), [21, 26, 31, 36, 41, 46, 51, 56]);
    let last = RUN_RECORDS as i64 / 20;
    let expected: Vec<u64> = (last as u64 * 20..RUN_RECORDS + 40).filter(|at| at % 5 == 1).collect();
    assert_eq!(found(last, last + 9), expected);
    assert_eq!(found(last + 9, last + 20), [0; 0]);
    assert_eq!(found(-9, 0), [1, 6, 11, 16]);
}

#[test]
fn only_the_next_places_are_taken() {
    let around = tempfile::tempdir().unwrap();
    let lookup = filled(around.path(), 20);
    for (from, to) in [(0, 20), (19, 21), (21, 22)] {
        assert_eq!(bring(&lookup, from, to), Brought::TooEarly, "{from}..{to}");
    }
    assert_eq!(lookup.recent(&machine(0), 99).unwrap().len(), 4);
}

#[test]
fn a_disk_that_takes_nothing_costs_bounded_memory_and_no_row() {
    let around = tempfile::tempdir().unwrap();
    let lookup = Lookup::open(around.path(), Position(0)).unwrap();
    let rows = Arc::clone(&lookup.known().as_ref().unwrap().rows);
    fill(&rows, true);
    let mut from = 0;
    while bring(&lookup, from, from + 4096) != Brought::TooEarly {
        assert!(from < RUN_RECORDS || lookup.write_full_runs().is_err());
        from += 4096;
    }
    assert_eq!(from, RUNS_WAITING_MAX as u64 * RUN_RECORDS);
    assert_eq!(lookup.evidence(&machine(1), 1).unwrap(), [Position(1)]);
    fill(&rows, false);
    lookup.write_full_runs().unwrap();
    assert_eq!(bring(&lookup, from, from + 4096), Brought::Kept);
    let all = lookup.recent(&machine(0), usize::MAX).unwrap();
    assert_eq!(all.len() as u64, (from + 4096).div_ceil(5));
}

#[test]
fn rows_that_are_not_checked_reflect_nothing_and_none_is_found() {
    let (_around, folder) = closed();
    let lookup = Lookup { folder, known: RwLock::new(None) };
    assert_eq!((lookup.reflected(), lookup.recent(&machine(0), 9).unwrap()), (Position(0), vec![]));
    assert!(matches!(lookup.evidence(&machine(0), 1), Err(LookupError::Unchecked)));
    assert!(matches!(lookup.write_full_runs(), Err(LookupError::Unchecked)));
    assert_eq!(bring(&lookup, 0, 1), Brought::TooEarly);
    while let Err(error) = lookup.check(Position(RUNS * RUN_RECORDS)) {
        assert!(matches!(error, LookupError::Rows(RowsError::InUse { .. })), "{error}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(lookup.reflected(), Position(RUNS * RUN_RECORDS));
    assert_eq!(lookup.recent(&machine(0), 99).unwrap().len(), 99);
}

#[test]
fn rows_ahead_of_the_journal_are_thrown_away() {
    let (_around, folder) = closed();
    assert_eq!(check_whole_runs(&folder, RUNS * RUN_RECORDS - 1, "ahead"), 0);
    assert_eq!(check_whole_runs(&folder, RUNS * RUN_RECORDS, "gone since"), 0);
}

#[test]
fn deleted_or_emptied_files_leave_whole_runs_or_none() {
    let (_around, folder) = closed();
    let whole = files(&folder);
    for (path, _) in &whole {
        for emptied in [false, true] {
            restore(&folder, &whole);
            fs::remove_file(path).unwrap();
            if emptied {
                fs::write(path, b"").unwrap();
            }
            let why = format!("{} gone (emptied: {emptied})", path.display());
            check_whole_runs(&folder, RUNS * RUN_RECORDS, &why);
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(check_whole_runs(&folder, RUNS * RUN_RECORDS, "all gone"), 0);
}

#[test]
fn a_flipped_byte_leaves_whole_runs_or_none() {
    let (_around, folder) = closed();
    let whole = files(&folder);
    let mut noticed = 0;
    for (path, bytes) in &whole {
        for at in places(bytes, 10) {
            restore(&folder, &whole);
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            fs::write(path, damaged).unwrap();
            let why = format!("byte {at} of {}", path.display());
            noticed += u64::from(check_whole_runs(&folder, RUNS * RUN_RECORDS, &why) < RUNS);
        }
    }
    assert!(noticed > 0);
}

#[test]
fn another_layout_is_thrown_away() {
    let (_around, folder) = closed();
    let lookup = reopened(&folder, RUNS * RUN_RECORDS);
    let rows = Arc::clone(&lookup.known().as_ref().unwrap().rows);
    rows.write(&[], b"seatbeat lookup 1........").unwrap();
    drop((rows, lookup));
    assert_eq!(check_whole_runs(&folder, RUNS * RUN_RECORDS, "another layout"), 0);
}

#[test]
fn a_second_open_is_refused_and_throws_nothing_away() {
    let (_around, folder) = closed();
    let first = reopened(&folder, RUNS * RUN_RECORDS);
    assert!(matches!(
        Lookup::open(&folder, Position(RUNS * RUN_RECORDS)),
        Err(LookupError::Rows(RowsError::InUse { .. }))
    ));
    drop(first);
    assert_eq!(check_whole_runs(&folder, RUNS * RUN_RECORDS, "afterwards"), RUNS);
}
