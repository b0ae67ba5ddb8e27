//! Damage to the files of a store that lies still: each is cut, changed in a bit, overwritten with zeros, emptied or removed.
//! Invariant: the store opens and says exactly what it said, or it says in words that name the place that something is
//! wrong. What was written behind the newest snapshot can be lost from its end on: no file but the journal's knows of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use seatbeat_collector::journal::{FileJournal, Journal as _, LocalDisk};
use seatbeat_collector::lookup::{Lookup, RUN_RECORDS};
use seatbeat_collector::snapshot;
use seatbeat_fleet::client::Door;
use seatbeat_fleet::seed::Seed;
use seatbeat_proto::frame::{self, Frame};
use tokio::runtime::Runtime;

use crate::desk::{Desk, eventually, say};
use crate::kill::setting;
use crate::reporters::{Fleet, Reporting};

use super::books::{Facts, Opened, folded, open};
use super::collector::{bring_run, lookup_says};
use super::trace::scratch;

const DAMAGES_DEFAULT: u64 = 60;

const MACHINES: usize = 4;

/// Some segments of the store below.
const SEGMENT_BYTES_MAX: u64 = 48 * 1024;

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Cut(u64),
    Flipped(u64),
    Zeroed(u64, u64),
    Emptied,
    Removed,
}

impl Damage {
    fn by(seed: &mut Seed, length: u64) -> Self {
        let at = seed.below(length);
        match seed.below(8) {
            0 | 1 => Self::Cut(at),
            2..=4 => Self::Flipped(at * 8 + seed.below(8)),
            5 => Self::Zeroed(at, at + 1 + seed.below(length - at)),
            6 => Self::Emptied,
            _ => Self::Removed,
        }
    }

    fn strike(self, path: &Path) {
        let mut bytes = fs::read(path).expect("it is there");
        match self {
            Self::Cut(at) => bytes.truncate(at as usize),
            Self::Flipped(bit) => bytes[(bit / 8) as usize] ^= 1 << (bit % 8),
            Self::Zeroed(from, to) => bytes[from as usize..to as usize].fill(0),
            Self::Emptied => bytes.clear(),
            Self::Removed => return fs::remove_file(path).expect("it is ours"),
        }
        fs::write(path, bytes).expect("it is ours");
    }

    /// Whether no byte behind this place is as it was.
    fn reaches(self, place: u64) -> bool {
        match self {
            Self::Cut(at) => at <= place,
            Self::Flipped(bit) => bit / 8 >= place,
            Self::Zeroed(_, to) => to > place,
            Self::Emptied | Self::Removed => true,
        }
    }
}

/// A store that lies still, and what it says.
struct Still {
    scratch: tempfile::TempDir,
    facts: Facts,
    /// Of so many records there is a snapshot.
    snapshot: usize,
}

impl Still {
    /// A store that was closed twice, has some segments, and was killed with records behind the newest snapshot.
    fn made() -> Self {
        let mut desk = Desk::open();
        let door = Door::of(&desk.customer_with_token("cus_a", "100")).expect("a token opens a door");
        let report = |number: u64, reports: u64| {
            let fleet =
                Fleet::report(Reporting::to(vec![door.clone()], usize::MAX), MACHINES, &Seed::new(number));
            let enough = || (fleet.reporting.acked().values().sum::<u64>() >= reports).then_some(());
            eventually("so many reports are acknowledged", enough);
            fleet.stop();
        };
        for (number, reports) in [(1, 150), (2, 150), (3, 100)] {
            report(number, reports);
            desk.operator_ok(&[
                "customers",
                "add",
                &format!("Customer {number}"),
                "--id",
                &format!("cus_{number}"),
            ]);
            if number < 3 {
                assert!(desk.stop(), "{}", desk.log());
                desk.start();
            }
        }
        std::thread::sleep(Duration::from_millis(100));
        desk.kill();
        let scratch = scratch();
        let store = scratch.path().join("whole");
        copy(&desk.store(), &store);
        in_segments(&store.join("journal"));
        let (position, ..) = snapshot::load(&store).expect("it can be read").expect("it was closed");
        let runtime = Runtime::new().expect("a runtime starts");
        let looked = scratch.path().join("looked");
        copy(&store, &looked);
        let Opened::Says(facts) = open(&looked, &runtime) else { panic!("it does not open") };
        assert_eq!(folded(&facts.records), facts.fold, "records fold to what is folded");
        Self { scratch, facts, snapshot: position.0 as usize }
    }

    fn store(&self) -> PathBuf {
        self.scratch.path().join("whole")
    }

    /// Where the last frame of the last segment begins, when it is this file.
    fn last_frame(&self, path: &Path) -> Option<u64> {
        let last = files(&self.store().join("journal")).pop()?;
        if last != path {
            return None;
        }
        let (bytes, mut at, mut begins) = (fs::read(path).expect("it is there"), 0, 0);
        while let Frame::Whole { length, .. } = frame::read(&bytes[at..]) {
            (begins, at) = (at, at + length);
        }
        Some(begins as u64)
    }

    fn judge(&self, opened: Opened, struck: &Path, damage: Damage) -> Result<&'static str, String> {
        let place = struck.strip_prefix(self.store()).expect("it is in the store");
        let part = place.iter().next().and_then(|part| part.to_str()).expect("our names are text");
        match opened {
            Opened::Says(facts) if facts == self.facts => Ok("says the same"),
            Opened::Says(facts) => {
                let size = facts.records.len();
                let is_end = self.last_frame(struck).is_some_and(|last| damage.reaches(last));
                let is_beginning = self.facts.records.starts_with(&facts.records)
                    && facts.fold == folded(&facts.records)
                    && facts.vault == self.facts.vault;
                if is_end && is_beginning && size >= self.snapshot {
                    return Ok("ends before the damage, behind the snapshot");
                }
                Err(format!("{size} records of {}", self.facts.records.len()))
            }
            Opened::Alarmed { fold, words } if fold == self.facts.fold => {
                let name = struck.file_name().and_then(|name| name.to_str()).expect("our names are text");
                // One that was cut where a record ends looks as if a segment behind it were gone: that one is named.
                let is_cut = part == "journal"
                    && matches!(damage, Damage::Cut(_))
                    && words.contains("is missing, and");
                if words.contains(name) || is_cut {
                    Ok("told by an alarm")
                } else {
                    Err(format!("the alarm says: {words}"))
                }
            }
            Opened::Alarmed { words, .. } => Err(format!("it counts otherwise, and says: {words}")),
            Opened::Refused(words)
                if words.contains(part) || words.contains("the journal") && part == "journal" =>
            {
                Ok("refused")
            }
            Opened::Refused(words) => Err(format!("refused, and does not say where: {words}")),
        }
    }
}

/// Lays a journal out anew in small segments.
fn in_segments(journal: &Path) {
    let whole = FileJournal::open(journal).expect("it is whole");
    let mut records = Vec::new();
    loop {
        let from = seatbeat_collector::journal::Position(records.len() as u64);
        let read = whole.read_from(from, usize::MAX).expect("it is whole");
        if read.is_empty() {
            break;
        }
        records.extend(read.into_iter().map(|(_, record)| record));
    }
    drop(whole);
    fs::remove_dir_all(journal).expect("it is ours");
    let mut anew =
        FileJournal::open_on(journal, Arc::new(LocalDisk), SEGMENT_BYTES_MAX).expect("a journal is begun");
    for batch in records.chunks(10) {
        anew.append(batch).expect("there is room");
    }
}

/// Files below a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![folder.to_owned()] };
    let mut found: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let _ = fs::remove_dir_all(to);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::write(&to, fs::read(&path).expect("it is there")).expect("a file can be written");
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("it is ours");
        }
    }
}

#[test]
fn a_damaged_store_says_the_same_or_says_that_it_is_damaged() {
    let (number, most) = (setting("SEATBEAT_SEED", 1), setting("SEATBEAT_DAMAGES", DAMAGES_DEFAULT));
    say(&format!("SEATBEAT_SEED={number}"));
    let (mut seed, still) = (Seed::new(number), Still::made());
    let runtime = Runtime::new().expect("a runtime starts");
    let struck_store = still.scratch.path().join("struck");
    let places = [
        files(&still.store().join("journal")),
        [still.store().join("snapshot"), still.store().join("snapshot.previous")].to_vec(),
        files(&still.store().join("vault")),
        files(&still.store().join("lookup")),
    ];
    let (mut verdicts, mut wrong) = (BTreeMap::<_, u64>::new(), Vec::new());
    for round in 0..most {
        let part = &places[round as usize % places.len()];
        let path = &part[seed.below(part.len() as u64) as usize];
        let length = fs::metadata(path).expect("it is there").len();
        let damage = if length == 0 { Damage::Removed } else { Damage::by(&mut seed, length) };
        copy(&still.store(), &struck_store);
        damage.strike(&struck_store.join(path.strip_prefix(still.store()).expect("it is in the store")));
        match still.judge(open(&struck_store, &runtime), path, damage) {
            Ok(word) => *verdicts.entry((round as usize % places.len(), word)).or_default() += 1,
            Err(what) => wrong.push(format!("{damage:?} of `{}`: {what}", path.display())),
        }
    }
    say(&format!(
        "{most} damages of {} records, snapshot of {}: {verdicts:?}",
        still.facts.records.len(),
        still.snapshot
    ));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn damaged_lookup_rows_say_what_they_said_or_nothing() {
    let (number, most) = (setting("SEATBEAT_SEED", 1), setting("SEATBEAT_DAMAGES", DAMAGES_DEFAULT) / 4);
    say(&format!("SEATBEAT_SEED={number}"));
    let (mut seed, scratch) = (Seed::new(number).branch("lookup"), scratch());
    let (whole, struck) = (scratch.path().join("lookup"), scratch.path().join("struck"));
    let journal_size = {
        let lookup = Lookup::open(&whole, Default::default()).expect("rows are begun");
        bring_run(&lookup);
        lookup.reflected()
    };
    assert_eq!(journal_size.0, RUN_RECORDS);
    let files = files(&whole);
    let mut verdicts = BTreeMap::<_, u64>::new();
    for _ in 0..most {
        let path = &files[seed.below(files.len() as u64) as usize];
        let length = fs::metadata(path).expect("it is there").len();
        let damage = if length == 0 { Damage::Removed } else { Damage::by(&mut seed, length) };
        copy(&whole, &struck);
        damage.strike(&struck.join(path.strip_prefix(&whole).expect("it is in the folder")));
        let verdict = lookup_says(&struck, journal_size);
        let word = verdict.unwrap_or_else(|what| panic!("{damage:?} of `{}`: {what}", path.display()));
        *verdicts.entry(word).or_default() += 1;
    }
    say(&format!("{most} damages: {verdicts:?}"));
}
