//! A spool in a folder that is cut, flipped, filled up and left for months.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::SigningKey;
use seatbeat_proto::signed::{new_key, verify};

use super::disk::RealDisk;
use super::*;

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_790_000_000_000;

struct Fixture {
    dir: tempfile::TempDir,
    machine: MachineId,
    key: SigningKey,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), machine: "mch_a".parse().unwrap(), key: new_key() }
    }

    fn open(&self) -> Opened {
        self.open_on(Box::new(SmallDisk(Arc::new(AtomicU64::new(u64::MAX))))).unwrap()
    }

    fn open_on(&self, disk: Box<dyn Disk>) -> Result<Opened, SpoolError> {
        Spool::open(self.dir.path(), disk, &self.machine, &self.key)
    }

    /// A closed spool with this many reports, a minute apart.
    fn written(&self, count: i64) {
        let mut spool = self.open().spool;
        (0..count)
            .for_each(|minute| drop(spool.append(report(START_MS + minute * 60_000), &self.key).unwrap()));
    }

    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != MARK);
        names.sort();
        names
    }

    fn only_file(&self) -> PathBuf {
        let files = self.files();
        assert_eq!(files.len(), 1, "{files:?}");
        self.dir.path().join(&files[0])
    }

    /// What every spool must be: one chain from the oldest kept to the tip, each piece signed.
    fn assert_whole(&self, spool: &Spool) {
        let chain = spool.chain();
        for sequence in chain.oldest()..=chain.tip() {
            let signed = spool.read(sequence).unwrap().unwrap();
            verify(&self.key.verifying_key(), Domain::Evidence, &signed).unwrap();
            assert_eq!(chain.hash_at(sequence), Some(&hash(&signed.payload)));
            let evidence = wire::Evidence::decode(signed.payload.as_slice()).unwrap();
            assert_eq!((evidence.sequence, evidence.spool.as_str()), (sequence, chain.spool().as_str()));
            let previous = chain.hash_at(sequence - 1).map(|hash| hash.to_vec()).unwrap_or_default();
            assert_eq!(evidence.previous, previous);
        }
        assert!(spool.read(chain.tip() + 1).unwrap().is_none());
        assert!(spool.read(chain.oldest() - 1).unwrap().is_none());
    }
}

fn report(observed_at_ms: i64) -> Observation {
    Observation {
        observed_at: Timestamp::from_millisecond(observed_at_ms).unwrap(),
        clock_offset_ms: 0,
        checkpoint: String::new(),
        body: wire::evidence::Body::Report(wire::Report::default()),
    }
}

fn sequences(evidence: &[wire::Evidence]) -> Vec<u64> {
    evidence.iter().map(|evidence| evidence.sequence).collect()
}

#[test]
fn what_was_written_is_there_after_a_kill_acknowledged_or_not() {
    let fixture = Fixture::new();
    let mut spool = fixture.open_on(Box::new(RealDisk)).unwrap().spool;
    (0..5).for_each(|minute| drop(spool.append(report(START_MS + minute), &fixture.key).unwrap()));
    drop(spool);
    let Opened { mut spool, kept, damage } = fixture.open_on(Box::new(RealDisk)).unwrap();
    assert_eq!((sequences(&kept), damage), (vec![1, 2, 3, 4, 5], None));
    assert_eq!(spool.acknowledged(), 0);
    spool.acknowledge(3);
    let name = spool.chain().spool().clone();
    std::mem::forget(spool);
    let mut spool = fixture.open().spool;
    assert_eq!((spool.chain().spool(), spool.acknowledged(), spool.chain().tip()), (&name, 3, 5));
    spool.append(report(START_MS), &fixture.key).unwrap();
    fixture.assert_whole(&spool);
    assert_eq!(sequences(&spool.after(4).unwrap()), [5, 6]);
}

#[test]
fn a_lost_or_foolish_mark_only_sends_again() {
    let fixture = Fixture::new();
    fixture.written(3);
    let mark = fixture.dir.path().join(MARK);
    for text in ["", "spl_other 3\n", "x", "spl", "\0\0\0\0"] {
        std::fs::write(&mark, text).unwrap();
        assert_eq!(fixture.open().spool.acknowledged(), 0, "{text:?}");
    }
    let name = fixture.open().spool.chain().spool().clone();
    std::fs::write(&mark, format!("{name} 99\n")).unwrap();
    assert_eq!(fixture.open().spool.acknowledged(), 3);
}

#[test]
fn every_cut_of_the_file_opens_with_all_whole_evidence_and_goes_on() {
    let fixture = Fixture::new();
    fixture.written(3);
    let path = fixture.only_file();
    let bytes = std::fs::read(&path).unwrap();
    let ends: Vec<_> =
        fixture.open().spool.segments[0].wholes.iter().map(|whole| whole.at + whole.length).collect();
    for cut in 0..=bytes.len() {
        for zeros in [0, 40] {
            for name in fixture.files() {
                std::fs::remove_file(fixture.dir.path().join(name)).unwrap();
            }
            // Some file systems leave zeros where a write did not come through.
            let mut torn = bytes[..cut].to_vec();
            torn.resize(cut + zeros, 0);
            std::fs::write(&path, torn).unwrap();
            let Opened { mut spool, kept, damage } = fixture.open();
            // A byte that was to become zero is there either way.
            let is_there = |end: u64| {
                let end = usize::try_from(end).unwrap();
                end <= cut || end <= cut + zeros && bytes[cut..end].iter().all(|byte| *byte == 0)
            };
            let whole = ends.iter().filter(|end| is_there(**end)).count();
            assert_eq!((kept.len(), damage), (whole, None), "cut at {cut}, {zeros} zeros");
            spool.append(report(START_MS), &fixture.key).unwrap();
            drop(spool);
            let spool = fixture.open().spool;
            assert_eq!(spool.chain().tip(), whole as u64 + 1);
            fixture.assert_whole(&spool);
        }
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_what_was_not_acknowledged_is_said_again_in_a_new_spool() {
    let fixture = Fixture::new();
    fixture.written(6);
    let Opened { mut spool, .. } = fixture.open();
    spool.acknowledge(2);
    let old = spool.chain().spool().clone();
    let damaged_at = spool.segments[0].wholes[4].at as usize + 20;
    drop(spool);
    let path = fixture.only_file();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[damaged_at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let Opened { spool, kept, damage } = fixture.open();
    let damage = damage.unwrap();
    assert!(damage.to_string().contains("bytes in the middle of it were changed"), "{damage}");
    assert!(damage.is.exists() && !damage.was.exists());
    assert_ne!(spool.chain().spool(), &old);
    let observed: Vec<_> = kept.iter().map(|evidence| evidence.observed_at_ms).collect();
    assert_eq!(observed, [START_MS + 120_000, START_MS + 180_000], "whole, and not acknowledged");
    fixture.assert_whole(&spool);
    drop(spool);
    let again = fixture.open();
    assert_eq!((sequences(&again.kept), again.damage), (vec![1, 2], None));
}

#[test]
fn a_damage_with_nothing_to_say_again_is_still_a_new_spool_after_a_crash() {
    let fixture = Fixture::new();
    fixture.written(2);
    let old = fixture.open().spool.chain().spool().clone();
    let path = fixture.only_file();
    std::fs::write(&path, b"this is no spool file").unwrap();
    for _ in 0..2 {
        let Opened { spool, kept, damage } = fixture.open();
        assert!(damage.is_some() && kept.is_empty());
        assert_ne!(spool.chain().spool(), &old);
    }
    let mut spool = fixture.open().spool;
    spool.append(report(START_MS), &fixture.key).unwrap();
    drop(spool);
    assert_eq!(fixture.open().damage, None);
}

#[test]
fn a_missing_file_in_the_middle_and_a_cut_one_are_damage() {
    for cut in [None, Some(5)] {
        let fixture = Fixture::new();
        let mut spool = fixture.open().spool;
        (0..3).for_each(|day| drop(spool.append(report(START_MS + day * DAY_MS), &fixture.key).unwrap()));
        drop(spool);
        let files = fixture.files();
        assert_eq!(files.len(), 3);
        let middle = fixture.dir.path().join(&files[1]);
        match cut {
            None => std::fs::remove_file(&middle).unwrap(),
            Some(cut) => {
                let bytes = std::fs::read(&middle).unwrap();
                std::fs::write(&middle, &bytes[..bytes.len() - cut]).unwrap();
            }
        }
        let Opened { spool, kept, damage } = fixture.open();
        assert!(damage.is_some(), "{cut:?}");
        assert_eq!(sequences(&kept), [1], "what came before it");
        fixture.assert_whole(&spool);
    }
}

#[test]
fn a_file_of_a_newer_agent_is_left_alone() {
    let fixture = Fixture::new();
    fixture.written(1);
    let path = fixture.only_file();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[7] = 2;
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(fixture.open_on(Box::new(RealDisk)), Err(SpoolError::Newer(_))));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn evidence_of_another_machine_or_key_is_not_continued() {
    let mut fixture = Fixture::new();
    fixture.written(2);
    fixture.machine = "mch_b".parse().unwrap();
    let Opened { spool, kept, damage } = fixture.open();
    assert_eq!((kept.len(), damage, spool.chain().tip()), (0, None, 0), "enrolled anew");
    fixture.machine = "mch_a".parse().unwrap();
    fixture.key = new_key();
    let damage = fixture.open().damage.unwrap();
    assert!(damage.to_string().contains("not signed by this machine"), "{damage}");
}

#[test]
fn two_months_are_kept_acknowledged_or_not_and_the_tip_for_ever() {
    let fixture = Fixture::new();
    let mut spool = fixture.open().spool;
    for day in 0..80 {
        let observation = report(START_MS + day * DAY_MS);
        let now = observation.observed_at;
        spool.append(observation, &fixture.key).unwrap();
        spool.acknowledge(spool.chain().tip());
        spool.prune(now).unwrap();
    }
    assert_eq!(spool.chain().tip(), 80);
    assert_eq!(spool.chain().oldest(), 80 - 62);
    fixture.assert_whole(&spool);
    let years_later = Timestamp::from_millisecond(START_MS + 800 * DAY_MS).unwrap();
    assert!(spool.prune(years_later).unwrap());
    assert_eq!(spool.chain().oldest(), 19, "one file a call: a wrong clock does not cost two months");
    while spool.prune(years_later).unwrap() {}
    assert_eq!((spool.chain().oldest(), spool.chain().tip()), (80, 80));
    let name = spool.chain().spool().clone();
    drop(spool);
    let mut spool = fixture.open().spool;
    assert_eq!((spool.chain().spool(), spool.chain().oldest(), spool.chain().tip()), (&name, 80, 80));
    spool.append(report(START_MS + 800 * DAY_MS), &fixture.key).unwrap();
    assert!(spool.prune(years_later).unwrap());
    fixture.assert_whole(&fixture.open().spool);
}

#[test]
fn a_clock_that_is_far_ahead_for_days_costs_nothing_that_nobody_has_yet() {
    let fixture = Fixture::new();
    let mut spool = fixture.open().spool;
    for day in 0..80 {
        spool.append(report(START_MS + day * DAY_MS), &fixture.key).unwrap();
    }
    let years_later = Timestamp::from_millisecond(START_MS + 800 * DAY_MS).unwrap();
    while spool.prune(years_later).unwrap() {}
    let kept = SEGMENTS_WAITING_MAX as u64;
    assert_eq!(spool.chain().oldest(), 80 - kept + 1, "what waits has a bound, whatever the clock says");
    spool.acknowledge(30);
    while spool.prune(years_later).unwrap() {}
    assert_eq!(spool.chain().oldest(), 31);
    fixture.assert_whole(&spool);
    spool.acknowledge(80);
    while spool.prune(years_later).unwrap() {}
    assert_eq!((spool.chain().oldest(), spool.chain().tip()), (80, 80));
}

#[test]
fn an_old_spool_stays_until_its_time_is_over() {
    let fixture = Fixture::new();
    fixture.written(2);
    let mut spool = fixture.open().spool;
    spool.begin_new(spool.after(0).unwrap(), &fixture.key).unwrap();
    let at = |days| Timestamp::from_millisecond(START_MS + days * DAY_MS).unwrap();
    assert_eq!(fixture.files().len(), 2);
    assert!(!spool.prune(at(61)).unwrap());
    assert!(spool.prune(at(63)).unwrap());
    assert_eq!(fixture.files().len(), 1);
    assert!(!spool.prune(at(63)).unwrap(), "the newest evidence stays");
}

#[test]
fn a_new_spool_says_again_what_it_is_given_with_the_instants_it_was_observed_at() {
    let fixture = Fixture::new();
    fixture.written(4);
    let mut spool = fixture.open().spool;
    let old = spool.chain().spool().clone();
    let again = spool.begin_new(spool.after(2).unwrap(), &fixture.key).unwrap();
    assert_ne!(spool.chain().spool(), &old);
    assert_eq!(sequences(&again), [1, 2]);
    assert_eq!(again[0].observed_at_ms, START_MS + 120_000);
    spool.append(report(START_MS + 240_000), &fixture.key).unwrap();
    fixture.assert_whole(&spool);
    let name = spool.chain().spool().clone();
    drop(spool);
    let Opened { spool, kept, .. } = fixture.open();
    assert_eq!((spool.chain().spool(), kept.len(), spool.acknowledged()), (&name, 3, 0));
}

/// A disk with this many bytes left; a write takes what fits and fails, as a real one does.
#[derive(Debug, Clone)]
struct SmallDisk(Arc<AtomicU64>);

#[derive(Debug)]
struct SmallTape {
    tape: Box<dyn Tape>,
    left: Arc<AtomicU64>,
}

impl Disk for SmallDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        Ok(Box::new(SmallTape { tape: RealDisk.create(path)?, left: Arc::clone(&self.0) }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Tape>> {
        Ok(Box::new(SmallTape { tape: RealDisk.open(path)?, left: Arc::clone(&self.0) }))
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl Tape for SmallTape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        let fits = bytes.len().min(usize::try_from(left).unwrap());
        self.left.store(left - fits as u64, Ordering::Relaxed);
        self.tape.write(&bytes[..fits])?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Never waits: no power fails in a test.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.tape.cut(length)
    }
}

#[test]
fn a_full_disk_stops_writing_and_nothing_else_and_room_brings_it_back() {
    for room in 0..700 {
        let fixture = Fixture::new();
        let disk = SmallDisk(Arc::new(AtomicU64::new(room)));
        let mut spool = fixture.open_on(Box::new(disk.clone())).unwrap().spool;
        let mut written = 0;
        let error = loop {
            match spool.append(report(START_MS), &fixture.key) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, SpoolError::Full { .. }), "{error}");
        assert!(error.hint().is_some());
        assert_eq!(spool.chain().tip(), written, "room for {room}");
        fixture.assert_whole(&spool);
        assert!(spool.append(report(START_MS), &fixture.key).is_err(), "still full");
        spool.acknowledge(written);
        // Killed here, the partial frame is gone already.
        let reopened = fixture.open();
        assert_eq!((reopened.kept.len() as u64, reopened.damage), (written, None));
        drop(reopened.spool);
        disk.0.store(1_000_000, Ordering::Relaxed);
        spool.append(report(START_MS), &fixture.key).unwrap();
        fixture.assert_whole(&spool);
        drop(spool);
        assert_eq!(fixture.open().kept.len() as u64, written + 1);
    }
}

#[test]
fn a_new_spool_that_does_not_fit_leaves_the_old_one_as_it_was() {
    let fixture = Fixture::new();
    fixture.written(4);
    let disk = SmallDisk(Arc::new(AtomicU64::new(100)));
    let mut spool = fixture.open_on(Box::new(disk)).unwrap().spool;
    let before = spool.chain().clone();
    let files = fixture.files();
    assert!(matches!(spool.begin_new(spool.after(0).unwrap(), &fixture.key), Err(SpoolError::Full { .. })));
    assert_eq!((spool.chain(), fixture.files()), (&before, files));
    fixture.assert_whole(&spool);
}

#[test]
fn a_file_that_is_changed_while_it_is_in_use_is_noticed_when_it_is_sent() {
    let fixture = Fixture::new();
    fixture.written(2);
    let spool = fixture.open().spool;
    let path = fixture.only_file();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(spool.read(1).unwrap().is_some());
    assert!(matches!(spool.read(2), Err(SpoolError::Changed(_))));
}

#[test]
fn looking_at_a_spool_changes_nothing() {
    let fixture = Fixture::new();
    let look = || Spool::inspect(fixture.dir.path(), &fixture.machine, &fixture.key.verifying_key()).unwrap();
    assert_eq!(look(), Inspection::default());
    fixture.written(3);
    let path = fixture.only_file();
    let torn = [std::fs::read(&path).unwrap(), vec![9; 5]].concat();
    std::fs::write(&path, &torn).unwrap();
    let seen = look();
    assert_eq!((seen.kept, seen.waiting, seen.damage), (3, 3, None));
    assert_eq!(std::fs::read(&path).unwrap(), torn);
}
