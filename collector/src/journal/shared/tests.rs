//! The copy of a journal that others append to, beside one that a test holds. Invariant: nothing here needs a database.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Mutex, MutexGuard};

use super::*;
use crate::journal::{LocalDisk, SEGMENT_BYTES_MAX};

/// A journal that others append to, in memory; clones are the same.
#[derive(Clone, Default)]
struct Common {
    records: Arc<Mutex<Vec<Vec<u8>>>>,
    reads: Arc<AtomicUsize>,
}

impl Common {
    fn of(texts: &[&str]) -> Self {
        let common = Self::default();
        common.records().extend(texts.iter().map(|text| text.as_bytes().to_vec()));
        common
    }

    fn records(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.records.lock().unwrap()
    }

    fn copied_to(&self, folder: &Path) -> Result<SharedJournal<Self>, JournalError> {
        SharedJournal::over(self.clone(), folder, Arc::new(LocalDisk), SEGMENT_BYTES_MAX, Position(0))
    }
}

impl Journal for Common {
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError> {
        let first = self.size();
        self.records().extend_from_slice(batch);
        Ok(first)
    }

    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        self.reads.fetch_add(1, SeqCst);
        let records = self.records();
        let read = (from.0..).map(Position).zip(records.iter().skip(from.0 as usize).cloned());
        Ok(read.take(limit).collect())
    }

    fn size(&self) -> Position {
        Position(self.records().len() as u64)
    }
}

impl Table for Common {
    fn ask_size(&mut self) -> Result<Position, JournalError> {
        Ok(self.size())
    }

    fn sessions(&self) -> u64 {
        1
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

#[test]
fn a_look_that_finds_nothing_new_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let common = Common::of(&["a", "b"]);
    let mut shared = common.copied_to(folder.path()).unwrap();
    common.reads.store(0, SeqCst);
    shared.look().unwrap();
    assert_eq!(common.reads.load(SeqCst), 0);
    common.records().push(b"c".to_vec());
    shared.look().unwrap();
    assert_eq!((common.reads.load(SeqCst), shared.size()), (1, Position(3)));
    common.records().truncate(1);
    let error = shared.look().unwrap_err();
    assert!(error.to_string().contains("it ends at record 1, this collector has read 3"), "{error}");
}

#[test]
fn only_a_damaged_copy_is_laid_aside_and_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("copy");
    let common = Common::of(&["a", "b"]);
    let held = common.copied_to(&folder).unwrap();
    let error = common.copied_to(&folder).err().unwrap();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    let names = || fs::read_dir(place.path()).unwrap().count();
    assert_eq!(names(), 1, "nothing was laid aside");
    let segment = held.copy().reader().segments().remove(0).path;
    drop(held);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[20] ^= 1;
    fs::write(&segment, bytes).unwrap();
    assert_eq!(common.copied_to(&folder).unwrap().size(), Position(2));
    assert_eq!(names(), 2);
}

#[test]
fn batches_have_no_more_records_and_bytes_than_are_written_at_once() {
    let check = |count: usize, length: usize, expected: &[usize]| {
        let records = vec![vec![7; length]; count];
        let batches: Vec<usize> = in_batches(&records).map(<[Vec<u8>]>::len).collect();
        assert_eq!(batches, expected, "{count} of {length} bytes");
    };
    check(0, 1, &[]);
    check(BATCH_RECORDS_MAX, 1, &[BATCH_RECORDS_MAX]);
    check(BATCH_RECORDS_MAX + 1, 1, &[BATCH_RECORDS_MAX, 1]);
    check(5, GATHER_BYTES_MAX / 4, &[4, 1]);
    check(2, GATHER_BYTES_MAX + 1, &[1, 1]);
}
