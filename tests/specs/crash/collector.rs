//! Journal, snapshot, vault and lookup rows behind a crash. Invariant: what each is asked for is compared with what it was
//! told, never with what another of them says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_collector::journal::{FileJournal, Journal as _, JournalError, LocalDisk, Position};
use seatbeat_collector::lookup::{Lookup, Place, RUN_RECORDS};
use seatbeat_collector::snapshot;
use seatbeat_collector::store::write_file;
use seatbeat_collector::vault::{Vault, VaultError, VaultKind, VaultRow};
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::ids::{CustomerId, MachineId};

use super::{Verdict, check};

/// Some batches of the journal below.
const SEGMENT_BYTES_MAX: u64 = 8 * 1024;

const BATCHES: u64 = 40;

/// Bytes that a number stands for, at most so many.
fn bytes_of(number: u64, length_max: u64) -> Vec<u8> {
    let mut seed = Seed::new(number).branch("bytes");
    let length = 20 + seed.below(length_max - 20);
    (0..length).map(|_| seed.next_number() as u8).collect()
}

pub fn record(number: u64) -> Vec<u8> {
    bytes_of(number, 900)
}

/// Records of a batch.
pub fn batch(number: u64) -> u64 {
    1 + Seed::new(number).branch("batch").below(5)
}

pub fn journal_in(folder: &Path) -> Result<FileJournal, JournalError> {
    FileJournal::open_on(&folder.join("journal"), Arc::new(LocalDisk), SEGMENT_BYTES_MAX)
}

pub fn records(journal: &FileJournal) -> Result<Vec<Vec<u8>>, JournalError> {
    let read = journal.read_from(Position(0), usize::MAX)?;
    Ok(read.into_iter().map(|(_, record)| record).collect())
}

#[test]
fn a_journal_holds_each_acknowledged_record_behind_any_crash() {
    let work = |stage: &super::Stage| {
        let mut size = 0;
        let mut journal = journal_in(stage.folder()).expect("a journal is begun");
        for number in 0..BATCHES {
            if number % 16 == 15 {
                drop(journal);
                journal = journal_in(stage.folder()).expect("a journal is opened again");
            }
            let batch: Vec<_> = (size..size + batch(number)).map(record).collect();
            journal.append(&batch).expect("there is room");
            size += batch.len() as u64;
            stage.mark(&size.to_string());
        }
    };
    check(
        "crash::collector::a_journal_holds_each_acknowledged_record_behind_any_crash",
        900,
        work,
        |found| {
            let acked = found.marked().unwrap_or(0);
            let under_way = batch(found.marks.len() as u64);
            let mut journal = match journal_in(found.folder) {
                Ok(journal) => journal,
                // A batch of which the end is there and the beginning is not looks like a record that was changed.
                Err(JournalError::Damaged { .. }) if found.crash.tears_inside() => return Ok("refused"),
                Err(error) => return Err(format!("{error:?}")),
            };
            let held = records(&journal).map_err(|error| error.to_string())?;
            let size = held.len() as u64;
            if size < acked || size > acked + under_way {
                return Err(format!("{size} records, {acked} acknowledged, {under_way} under way"));
            }
            let changed = held.iter().zip(0..).find(|(held, number)| **held != record(*number));
            if let Some((_, number)) = changed {
                return Err(format!("record {number} was changed"));
            }
            let next = journal.append(&[record(size)]).map_err(|error| error.to_string())?;
            drop(journal);
            let again = journal_in(found.folder)
                .and_then(|journal| records(&journal))
                .map_err(|error| error.to_string())?;
            let goes_on =
                next == Position(size) && again.len() as u64 == size + 1 && again.starts_with(&held);
            if goes_on { Ok("whole") } else { Err("it does not go on".to_owned()) }
        },
    );
}

#[test]
fn a_snapshot_and_a_file_that_is_replaced_are_the_old_or_the_new_behind_any_crash() {
    let body = |number: u64| bytes_of(number, 4000);
    let root_check = |number: u64| [number as u8; 32];
    let work = |stage: &super::Stage| {
        for number in 1..=12 {
            snapshot::save(stage.folder(), Position(number), root_check(number), &body(number))
                .expect("there is room");
            write_file(&stage.folder().join("file"), &body(number)).expect("there is room");
            stage.mark(&number.to_string());
        }
    };
    let test =
        "crash::collector::a_snapshot_and_a_file_that_is_replaced_are_the_old_or_the_new_behind_any_crash";
    check(test, 700, work, |found| {
        let acked = found.marked().unwrap_or(0);
        let may_be = |number: u64| number == acked || number == acked + 1;
        match snapshot::load(found.folder).map_err(|error| error.to_string())? {
            None if acked == 0 => {}
            Some((at, check, bytes)) if may_be(at.0) && check == root_check(at.0) && bytes == body(at.0) => {}
            other => return Err(format!("{acked} was saved, there is {:?}", other.map(|(at, ..)| at))),
        }
        match std::fs::read(found.folder.join("file")) {
            Ok(bytes) if (acked.max(1)..=acked + 1).any(|number| bytes == body(number)) => Ok("whole"),
            Err(_) if acked == 0 => Ok("whole"),
            other => Err(format!("{acked} was written, there is {:?}", other.map(|bytes| bytes.len()))),
        }
    });
}

type Names = BTreeMap<String, Vec<u8>>;

const VAULT_STEPS: u64 = 60;

/// What a write of the vault changes: rows to be, or rows to be no more.
fn step(number: u64) -> Vec<(CustomerId, Option<Vec<u8>>)> {
    let mut seed = Seed::new(number).branch("step");
    let goes = number % 4 == 3;
    let rows = if number.is_multiple_of(10) { 30 } else { 1 + seed.below(3) };
    let row = |seed: &mut Seed| {
        let id = format!("cus_{}", seed.below(60)).parse().expect("an id");
        (id, (!goes).then(|| bytes_of(seed.next_number(), 4000)))
    };
    (0..rows).map(|_| row(&mut seed)).collect()
}

fn take_step(vault: &Vault, number: u64) -> Result<(), VaultError> {
    let changes = step(number);
    let row = VaultRow::CustomerName;
    if changes.iter().all(|(_, value)| value.is_none()) {
        return vault.delete_all(&changes.iter().map(|(id, _)| row(id)).collect::<Vec<_>>());
    }
    let values = changes.iter().filter_map(|(id, value)| Some((row(id), value.as_deref()?)));
    vault.put_all(&values.collect::<Vec<_>>())
}

fn names_behind(steps: u64) -> Names {
    let mut names = Names::new();
    for (id, value) in (0..steps).flat_map(step) {
        match value {
            Some(value) => names.insert(id.to_string(), value),
            None => names.remove(id.as_str()),
        };
    }
    names
}

fn names_in(vault: &Vault) -> Result<Names, VaultError> {
    Ok(vault.scan(VaultKind::CustomerName)?.into_iter().map(|(id, value)| (id, value.to_vec())).collect())
}

#[test]
fn a_vault_holds_each_acknowledged_row_or_says_that_it_does_not_behind_any_crash() {
    let work = |stage: &super::Stage| {
        let folder = stage.folder().join("vault");
        let mut vault = Vault::create(&folder).expect("a vault is made");
        stage.mark("0");
        for number in 0..VAULT_STEPS {
            if number % 25 == 24 {
                drop(vault);
                vault = Vault::open(&folder).expect("a vault is opened again");
            }
            take_step(&vault, number).expect("there is room");
            stage.mark(&(number + 1).to_string());
        }
    };
    let test =
        "crash::collector::a_vault_holds_each_acknowledged_row_or_says_that_it_does_not_behind_any_crash";
    check(test, 250, work, |found| {
        let folder = found.folder.join("vault");
        let Some(acked) = found.marked() else {
            // Whoever makes one begins anew: no name is in it yet.
            return match Vault::create(&folder)
                .or_else(|_| Vault::open(&folder))
                .and_then(|vault| names_in(&vault))
            {
                Ok(names) if names.is_empty() => Ok("begun"),
                Ok(names) => Err(format!("{} rows that nobody put there", names.len())),
                Err(_) => Ok("refused at its making"),
            };
        };
        let vault = match Vault::open(&folder) {
            Ok(vault) => vault,
            Err(error) if found.crash.is_out_of_order() && error.to_string().contains("vault") => {
                return Ok("refused");
            }
            Err(error) => return Err(format!("{error:?}")),
        };
        let names = names_in(&vault).map_err(|error| error.to_string())?;
        if names != names_behind(acked) && names != names_behind(acked + 1) {
            return Err(format!("{} rows that are those of no write around {acked}", names.len()));
        }
        take_step(&vault, VAULT_STEPS).map_err(|error| format!("it does not go on: {error}"))?;
        Ok("whole")
    });
}

const MACHINES: u64 = 40;

fn machine(number: u64) -> MachineId {
    format!("mch_{number}").parse().expect("an id")
}

/// The evidence at a position: whose, and where in its chain.
fn place(position: u64) -> Place {
    let (whose, sequence) = (position % MACHINES, position / MACHINES + 1);
    Place::new(&machine(whose), sequence, Timestamp::UNIX_EPOCH, Position(position))
}

/// Brings the rows of one more run.
pub fn bring_run(lookup: &Lookup) {
    let first = lookup.reflected();
    lookup.bring(first, first.plus(RUN_RECORDS), (first.0..first.0 + RUN_RECORDS).map(place));
    lookup.write_full_runs().expect("there is room");
}

#[test]
fn lookup_rows_say_what_the_journal_says_or_nothing_behind_any_crash() {
    let work = |stage: &super::Stage| {
        let folder = stage.folder().join("lookup");
        let lookup = Lookup::open(&folder, Position(0)).expect("rows are begun");
        stage.mark("0");
        for run in 1..=2 {
            bring_run(&lookup);
            stage.mark(&(run * RUN_RECORDS).to_string());
        }
    };
    check(
        "crash::collector::lookup_rows_say_what_the_journal_says_or_nothing_behind_any_crash",
        40,
        work,
        |found| {
            let brought = found.marked().unwrap_or(0) + RUN_RECORDS;
            lookup_says(&found.folder.join("lookup"), Position(brought))
        },
    );
}

/// What rows in a folder say, beside what they were told.
pub fn lookup_says(folder: &Path, journal_size: Position) -> Verdict {
    let lookup = Lookup::open(folder, journal_size).map_err(|error| error.to_string())?;
    let reflected = lookup.reflected().0;
    for (whose, sequence) in [(0, 1), (7, 900), (MACHINES - 1, 1638), (3, 1639), (11, 3000)] {
        let position = whose + (sequence - 1) * MACHINES;
        let said = lookup.evidence(&machine(whose), sequence).map_err(|error| error.to_string())?;
        let expected: Vec<_> = (position < reflected).then_some(Position(position)).into_iter().collect();
        if said != expected {
            return Err(format!("evidence {sequence} of {whose} is at {said:?}, not {expected:?}"));
        }
    }
    Ok(if reflected == 0 { "made anew" } else { "whole" })
}
