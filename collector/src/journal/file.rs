//! The journal in files: segments of frames in one folder, written by one process.
//! Invariant: what stands before `bytes` of the last segment is durable, and what a failed append left behind it is
//! cut off before the next one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use seatbeat_proto::frame;

use super::archiver::Archiver;
use super::disk::{Disk, LocalDisk};
use super::reader::{FileReader, Segment, Segments};
use super::recovery::{check, create, recover, write_all_at};
use super::segment::{Header, Link, path_of};
use super::{Journal, JournalError, Position};
use crate::store::{self, StoreError};

/// Largest segment: small enough to copy and to look through by hand, large enough that a year of a large fleet is
/// some hundred files.
pub const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Most bytes of one batch, frames included. A torn tail is never longer, so a start reads at most this much at
/// once.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A journal in a folder of segment files.
pub struct FileJournal {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    segment_bytes_max: u64,
    segments: Segments,
    file: File,
    link: Link,
    failed: bool,
    /// The batch as frames; kept for its capacity.
    frames: Vec<u8>,
    /// Held for as long as this journal is open: two writers would cut each other's tails.
    _lock: File,
}

/// Reads what a start passed over, on any thread.
pub struct LateCheck {
    folder: PathBuf,
    segments: Segments,
}

impl LateCheck {
    /// Reads it.
    ///
    /// # Errors
    /// When a segment is damaged or cannot be read.
    pub fn check(&self) -> Result<(), JournalError> {
        check(&self.folder, &self.segments)
    }
}

impl FileJournal {
    /// Opens a journal, or begins one in an empty or missing folder. Every record is read and checked; a record
    /// whose writing was never finished is cut off.
    ///
    /// # Errors
    /// When another process has it open, when a segment is damaged, missing, not in its place or of a later
    /// format, or when the system fails.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        Self::open_on(folder, Arc::new(LocalDisk), SEGMENT_BYTES_MAX)
    }

    /// As [`FileJournal::open`], on a disk that may fail, with segments of another size.
    ///
    /// # Errors
    /// As [`FileJournal::open`].
    pub fn open_on(folder: &Path, disk: Arc<dyn Disk>, segment_bytes_max: u64) -> Result<Self, JournalError> {
        Self::open_on_behind(folder, disk, segment_bytes_max, Position(0))
    }

    /// As [`FileJournal::open_on`], but segments that end before `known` are only looked at: a snapshot stands for their
    /// records, and [`FileJournal::check`] reads them while the journal is in use.
    ///
    /// # Errors
    /// As [`FileJournal::open`].
    pub fn open_on_behind(
        folder: &Path,
        disk: Arc<dyn Disk>,
        segment_bytes_max: u64,
        known: Position,
    ) -> Result<Self, JournalError> {
        make_folder(folder)?;
        let file = File::open(folder).map_err(|e| JournalError::io("open the folder", folder, e))?;
        crate::lock::lock(&file).map_err(|errno| {
            if errno == rustix::io::Errno::WOULDBLOCK {
                JournalError::InUse { folder: folder.into() }
            } else {
                JournalError::io("lock the folder", folder, errno.into())
            }
        })?;
        let found = recover(folder, disk.as_ref(), known)?;
        Ok(Self {
            folder: folder.into(),
            disk,
            segment_bytes_max,
            segments: Arc::new(RwLock::new(found.segments)),
            file: found.file,
            link: found.link,
            failed: false,
            frames: Vec::new(),
            _lock: file,
        })
    }

    /// A reader that works while the journal is being written.
    pub fn reader(&self) -> FileReader {
        FileReader::new(Arc::clone(&self.segments))
    }

    /// What is still to be read of the segments that the start passed over.
    pub fn check(&self) -> LateCheck {
        LateCheck { folder: self.folder.clone(), segments: Arc::clone(&self.segments) }
    }

    /// What moves old segments to an archive while the journal is in use.
    pub fn archiver(&self) -> Archiver {
        Archiver::new(self.folder.clone(), Arc::clone(&self.segments))
    }

    /// Where the last segment ends, and how many records it holds.
    fn tail(&self) -> (u64, u64) {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.last().map_or((0, 0), |segment| (segment.bytes, segment.records))
    }

    /// Begins a new segment where the batch does not fit into the last one.
    fn roll(&mut self) -> Result<(), JournalError> {
        let (bytes, records) = self.tail();
        if records == 0 || bytes + self.frames.len() as u64 <= self.segment_bytes_max {
            return Ok(());
        }
        let header = Header { first: self.size(), link: self.link.finish() };
        (self.file, self.link) = create(&self.folder, header, self.disk.as_ref())?;
        let segment = Segment::empty(path_of(&self.folder, header.first), header.first);
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
        Ok(())
    }

    /// Writes the frames behind the last record and makes them durable.
    fn write(&mut self) -> Result<(), JournalError> {
        let (end, _) = self.tail();
        let path = || path_of(&self.folder, self.last_first());
        if let Err(error) = write_all_at(self.disk.as_ref(), &self.file, &self.frames, end) {
            self.disk.set_length(&self.file, end).map_err(|source| JournalError::Io {
                act: "cut an unfinished batch off",
                path: path(),
                source,
            })?;
            return Err(JournalError::io("write", path(), error));
        }
        // Whatever its kind, a failed sync leaves it unknown what the disk holds.
        self.disk.sync_data(&self.file).map_err(|source| JournalError::Io {
            act: "sync",
            path: path(),
            source,
        })
    }

    fn last_first(&self) -> Position {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.last().map_or(Position(0), |segment| segment.first)
    }

    fn encode(&mut self, batch: &[Vec<u8>]) -> Result<(), JournalError> {
        self.frames.clear();
        let bytes = batch.iter().map(|record| frame::HEADER_LENGTH + record.len()).sum();
        if bytes > BATCH_BYTES_MAX {
            return Err(JournalError::TooLarge { bytes, limit: BATCH_BYTES_MAX });
        }
        self.frames.reserve(bytes);
        for record in batch {
            frame::append(&mut self.frames, record).map_err(|frame::TooLong(bytes)| {
                JournalError::TooLarge { bytes, limit: frame::BODY_LENGTH_MAX }
            })?;
        }
        Ok(())
    }
}

/// Makes a journal's folder, for its owner alone, and its name durable.
pub fn make_folder(folder: &Path) -> Result<(), JournalError> {
    store::make_folder(folder).map_err(|error| match error {
        StoreError::Io { act, path, source } => JournalError::io(act, path, source),
        other => JournalError::io("create the folder", folder, io::Error::other(other)),
    })
}

impl Journal for FileJournal {
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError> {
        if self.failed {
            return Err(JournalError::Failed { folder: self.folder.clone() });
        }
        self.encode(batch)?;
        let first = self.size();
        if batch.is_empty() {
            return Ok(first);
        }
        if let Err(error) = self.roll().and_then(|()| self.write()) {
            self.failed = !error.is_full();
            return Err(error);
        }
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let mut frames = self.frames.as_slice();
        for record in batch {
            let (frame, rest) = frames.split_at(frame::HEADER_LENGTH + record.len());
            self.link.add(frame);
            if let Some(last) = segments.last_mut() {
                last.grow(frame.len() as u64);
            }
            frames = rest;
        }
        Ok(first)
    }

    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        self.reader().read_from(from, limit)
    }

    fn size(&self) -> Position {
        self.reader().size()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;
    use crate::journal::disk::faults::FaultyDisk;
    use crate::journal::reader::{MARK_INTERVAL_RECORDS, READ_BYTES_MAX};

    fn open(folder: &Path, disk: &Arc<FaultyDisk>) -> FileJournal {
        FileJournal::open_on(folder, Arc::clone(disk) as Arc<dyn Disk>, 1 << 20).unwrap()
    }

    fn records(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    fn all(journal: &FileJournal) -> Vec<Vec<u8>> {
        journal.read_from(Position(0), usize::MAX).unwrap().into_iter().map(|(_, record)| record).collect()
    }

    #[test]
    fn records_come_back_in_order_after_a_restart_on_a_real_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = FileJournal::open(&path).unwrap();
        assert_eq!(journal.append(&records(&["a", "", "c"])).unwrap(), Position(0));
        assert_eq!(journal.append(&records(&["d"])).unwrap(), Position(3));
        assert_eq!(journal.append(&[]).unwrap(), Position(4));
        drop(journal);
        let journal = FileJournal::open(&path).unwrap();
        assert_eq!((all(&journal), journal.size()), (records(&["a", "", "c", "d"]), Position(4)));
    }

    #[test]
    fn a_full_disk_at_any_byte_of_an_append_loses_nothing_and_appending_goes_on() {
        let (first, second) = (records(&["kept one", "kept two"]), records(&["later", "", "and last"]));
        let bytes = second.iter().map(|record| record.len() as u64 + 8).sum::<u64>();
        for room in 0..bytes {
            let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
            let mut journal = open(folder.path(), &disk);
            journal.append(&first).unwrap();
            disk.room.store(room, SeqCst);
            disk.write_length_max.store(5, SeqCst);
            for _ in 0..2 {
                disk.room.fetch_min(room, SeqCst);
                assert!(journal.append(&second).unwrap_err().is_full(), "{room} bytes of room");
                assert_eq!(all(&journal), first);
            }
            disk.room.store(u64::MAX, SeqCst);
            assert_eq!(journal.append(&second).unwrap(), Position(2));
            drop(journal);
            assert_eq!(all(&open(folder.path(), &disk)), [first.clone(), second.clone()].concat());
        }
    }

    #[test]
    fn a_full_disk_at_any_byte_of_a_new_segment_loses_nothing_and_appending_goes_on() {
        let first = vec![vec![1; 1 << 19]];
        for room in 0..Header::encoded_length() + 100 {
            let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<FaultyDisk>::default());
            let mut journal = FileJournal::open_on(folder.path(), Arc::clone(&disk) as _, 1 << 19).unwrap();
            journal.append(&first).unwrap();
            disk.room.store(room, SeqCst);
            assert!(journal.append(&[vec![2; 93]]).unwrap_err().is_full(), "{room} bytes of room");
            disk.room.store(u64::MAX, SeqCst);
            assert_eq!(journal.append(&[vec![3; 3]]).unwrap(), Position(1));
            drop(journal);
            assert_eq!(all(&open(folder.path(), &disk)), [first.clone(), vec![vec![3; 3]]].concat());
        }
    }

    #[test]
    fn a_failed_sync_is_final_until_the_next_start() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
        let mut journal = open(folder.path(), &disk);
        journal.append(&records(&["kept"])).unwrap();
        disk.sync_fails.store(true, SeqCst);
        let error = journal.append(&records(&["in doubt"])).unwrap_err();
        assert!(matches!(error, JournalError::Io { act: "sync", .. }), "{error}");
        disk.sync_fails.store(false, SeqCst);
        assert!(matches!(journal.append(&records(&["no"])).unwrap_err(), JournalError::Failed { .. }));
        assert_eq!(all(&journal), records(&["kept"]));
        drop(journal);
        assert_eq!(all(&open(folder.path(), &disk)), records(&["kept", "in doubt"]));
    }

    #[test]
    fn an_unfinished_batch_that_cannot_be_cut_off_is_final() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
        let mut journal = open(folder.path(), &disk);
        disk.room.store(4, SeqCst);
        disk.cut_fails.store(true, SeqCst);
        assert!(!journal.append(&records(&["never"])).unwrap_err().is_full());
        disk.room.store(u64::MAX, SeqCst);
        assert!(matches!(journal.append(&records(&["no"])).unwrap_err(), JournalError::Failed { .. }));
        disk.cut_fails.store(false, SeqCst);
        drop(journal);
        assert_eq!(open(folder.path(), &disk).size(), Position(0));
    }

    #[test]
    fn a_record_or_batch_over_the_limit_is_refused_and_leaves_nothing_behind() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
        let mut journal = open(folder.path(), &disk);
        let too_long = vec![0; frame::BODY_LENGTH_MAX + 1];
        let too_many = vec![vec![0; frame::BODY_LENGTH_MAX]; 16];
        for batch in [vec![b"good".to_vec(), too_long], too_many] {
            let error = journal.append(&batch).unwrap_err();
            assert!(matches!(error, JournalError::TooLarge { .. }), "{error}");
        }
        assert_eq!(journal.append(&records(&["small"])).unwrap(), Position(0));
        assert_eq!(all(&journal), records(&["small"]));
    }

    #[test]
    fn a_second_open_is_refused_until_the_first_is_dropped() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
        let journal = open(folder.path(), &disk);
        let error = FileJournal::open(folder.path()).err().unwrap();
        assert!(matches!(error, JournalError::InUse { .. }) && error.hint().is_some(), "{error}");
        drop(journal);
        open(folder.path(), &disk);
    }

    #[test]
    fn any_position_is_found_across_segments_and_marks() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<FaultyDisk>::default());
        let segment_bytes_max = 10 * (MARK_INTERVAL_RECORDS * 2 + 7);
        let mut journal = FileJournal::open_on(folder.path(), disk, segment_bytes_max).unwrap();
        let count = MARK_INTERVAL_RECORDS as u16 * 5;
        for number in 0..count {
            journal.append(&[number.to_le_bytes().to_vec()]).unwrap();
        }
        assert!(fs::read_dir(folder.path()).unwrap().count() > 2);
        for from in 0..count + 2 {
            let read = journal.reader().read_from(Position(from.into()), 3).unwrap();
            let expected: Vec<_> = (from..count.min(from + 3))
                .map(|number| (Position(number.into()), number.to_le_bytes().to_vec()))
                .collect();
            assert_eq!(read, expected, "from {from}");
        }
        assert_eq!(all(&journal).len(), usize::from(count));
    }

    #[test]
    fn an_answer_is_bounded_in_bytes_and_never_empty_before_the_end() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
        let mut journal = open(folder.path(), &disk);
        for _ in 0..12 {
            journal.append(&[vec![7; frame::BODY_LENGTH_MAX]]).unwrap();
        }
        let first = journal.read_from(Position(0), usize::MAX).unwrap();
        assert_eq!(first.len(), READ_BYTES_MAX / frame::BODY_LENGTH_MAX);
        let rest = journal.read_from(Position(first.len() as u64), usize::MAX).unwrap();
        assert_eq!(first.len() + rest.len(), 12);
        assert!(journal.read_from(Position(12), usize::MAX).unwrap().is_empty());
    }

    #[test]
    fn a_record_that_changed_since_the_start_is_not_handed_out() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::default());
        let mut journal = open(folder.path(), &disk);
        journal.append(&records(&["one", "two"])).unwrap();
        let path = path_of(folder.path(), Position(0));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(journal.read_from(Position(0), 1).unwrap().len(), 1);
        let error = journal.read_from(Position(1), 1).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    }
}
