//! The journal in files: segments of frames in one folder, written by one process.
//! Invariant: what stands before `bytes` of the last segment is durable, and what a failed append left behind it is
//! cut off before the next one.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{FlockOperation, flock};
use seatbeat_proto::frame;
use sha2::{Digest, Sha256};

use super::disk::{Disk, LocalDisk};
use super::reader::{FileReader, Segment, Segments};
use super::recovery::{create, recover, write_all_at};
use super::segment::{Header, path_of};
use super::{Journal, JournalError, Position};

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
    hasher: Sha256,
    failed: bool,
    /// The batch as frames; kept for its capacity.
    frames: Vec<u8>,
    /// Held for as long as this journal is open: two writers would cut each other's tails.
    _lock: File,
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
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| JournalError::io("create the folder", folder, e))?;
        let lock = File::open(folder).map_err(|e| JournalError::io("open the folder", folder, e))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            if errno == rustix::io::Errno::WOULDBLOCK {
                JournalError::InUse { folder: folder.into() }
            } else {
                JournalError::io("lock the folder", folder, errno.into())
            }
        })?;
        let found = recover(folder, disk.as_ref())?;
        Ok(Self {
            folder: folder.into(),
            disk,
            segment_bytes_max,
            segments: Arc::new(RwLock::new(found.segments)),
            file: found.file,
            hasher: found.hasher,
            failed: false,
            frames: Vec::new(),
            _lock: lock,
        })
    }

    /// A reader that works while the journal is being written.
    pub fn reader(&self) -> FileReader {
        FileReader::new(Arc::clone(&self.segments))
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
        let header = Header { first: self.size(), link: self.hasher.clone().finalize().into() };
        let (file, hasher) = create(&self.folder, header, self.disk.as_ref())?;
        (self.file, self.hasher) = (file, hasher);
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
        self.hasher.update(&self.frames);
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = segments.last_mut() {
            batch.iter().for_each(|record| last.grow((frame::HEADER_LENGTH + record.len()) as u64));
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
