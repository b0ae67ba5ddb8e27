//! The journal: records in the order that holds, and nothing else. Everything else is derived from it.
//! Invariant: a record that was answered with a position is on the disk, and no record ever moves or changes.

mod archive;
mod archiver;
#[cfg(test)]
mod contract;
mod copy;
mod disk;
mod file;
mod postgres;
mod reader;
mod recovery;
mod scan;
mod segment;
mod shared;
mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::postgres::PostgresError;

pub use archive::{Archive, ArchiveError, Archived, INDEX, Index};
pub use archiver::Archiver;
pub use copy::{Copied, CopyError, copy};
pub use disk::{Disk, LocalDisk};
pub use file::{BATCH_BYTES_MAX, FileJournal, LateCheck, SEGMENT_BYTES_MAX};
pub use postgres::{Held, LEASE_SECONDS, Lease, Looked, Month, Parts, PostgresJournal, Pruned, Pruner};
pub use reader::{FileReader, InArchive, READ_BYTES_MAX, Segment};
pub use recovery::{Inspected, inspect};
pub use shared::{SharedJournal, Table};
pub use writer::{
    AppendError, Appender, BATCH_RECORDS_MAX, GATHER_BYTES_MAX, GATHER_MILLISECONDS_MAX, QUEUE_BYTES_MAX,
    WriterHandle, start,
};

/// A place in the journal: how many records stand before it. The first record is at `Position(0)`; the size of a
/// journal is the position behind its last record.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Position(pub u64);

impl Position {
    /// The position `records` further on.
    #[must_use]
    pub fn plus(self, records: u64) -> Self {
        Self(self.0 + records)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// On what condition a batch is appended where others append, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Whoever runs the jobs has a lease with this fence.
    Leads(i64),
    /// Nothing stands at this position yet.
    EndsAt(Position),
}

/// What keeps the records. Blocking; used by the one writer thread.
pub trait Journal: Send + 'static {
    /// Writes records behind the last one, adjacent and in order. They are durable when it returns; the position
    /// is that of the first (the size, when the batch is empty). What others appended before them can be read then.
    ///
    /// # Errors
    /// [`JournalError::Full`] when there is no room: nothing of the batch is kept, and a later append is tried
    /// anew. [`JournalError::TooLarge`] for a batch or a record over the limit. Any other error is final: the
    /// journal refuses every later append.
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError>;

    /// As [`Journal::append`], on a condition.
    ///
    /// # Errors
    /// As there; [`PostgresError::Superseded`] or [`PostgresError::Longer`] when it does not hold, and then nothing of
    /// the batch is kept. A journal that nobody else appends to holds every condition.
    fn append_if(&mut self, batch: &[Vec<u8>], _condition: Condition) -> Result<Position, JournalError> {
        self.append(batch)
    }

    /// Reads records from a position on, at most `limit` and at most [`READ_BYTES_MAX`] bytes (but at least one
    /// record where there is one): an empty answer means that nothing stands at `from` or behind it.
    ///
    /// # Errors
    /// When the records cannot be read, or are no longer what was written.
    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError>;

    /// The position behind the last durable record.
    fn size(&self) -> Position;

    /// How often to look for what others appended; none where nobody else appends.
    fn look_every(&self) -> Option<Duration> {
        None
    }

    /// Looks for what others appended: what there is can be read then.
    ///
    /// # Errors
    /// As [`Journal::append`]; where a later append may succeed, so may a later look.
    fn look(&mut self) -> Result<(), JournalError> {
        Ok(())
    }
}

/// What can be wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No room for a batch; nothing of it was kept.
    #[error("no room to write `{path}`")]
    Full {
        /// The segment that could not grow.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record, or a batch of them, over its limit.
    #[error("{bytes} bytes are more than the journal takes at once ({limit})")]
    TooLarge {
        /// How many came.
        bytes: usize,
        /// How many may.
        limit: usize,
    },
    /// The system failed an act.
    #[error("failed to {act} `{path}`")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier error was final.
    #[error("the journal `{folder}` takes no more records since an earlier error")]
    Failed {
        /// The journal's folder.
        folder: PathBuf,
    },
    /// Someone else writes this journal.
    #[error("the journal `{folder}` is in use by another process")]
    InUse {
        /// The journal's folder.
        folder: PathBuf,
    },
    /// Bytes that no writer left like this.
    #[error("`{path}` is damaged at byte {offset}: {what}")]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A segment that has to be there is not.
    #[error("the journal's segment `{path}` is missing, and `{next}` goes on from it")]
    Missing {
        /// The segment that should be there.
        path: PathBuf,
        /// The segment that is there.
        next: PathBuf,
    },
    /// A segment that lies in an archive, or the index of those.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A journal in a database.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A segment written by a later version.
    #[error("`{path}` has journal format {found}; this version knows format {known}")]
    NewerFormat {
        /// The segment.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
}

impl JournalError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Full { .. } => {
                Some("free some space on that disk; appending goes on by itself then".into())
            }
            Self::InUse { .. } => Some("stop the other `seatbeat serve` on this store first".into()),
            Self::Damaged { path, offset, .. } => Some(format!(
                "restore `{path}` from a backup. If there is none, keep a copy of the file; `truncate -s {offset}` \
                 on the journal's last segment gives up every record from that byte on (agents send their reports \
                 of the last 62 days again, operators' acts are lost)",
                path = path.display()
            )),
            Self::Missing { path, .. } => Some(format!(
                "restore `{}` from a backup; the journal is not complete without it",
                path.display()
            )),
            Self::NewerFormat { .. } => {
                Some("start the version that wrote this store, or a later one".into())
            }
            Self::Archive(error) => error.hint(),
            Self::Postgres(error) => error.hint(),
            Self::Failed { .. } => Some("restart; look for a failing disk in the system log".into()),
            Self::Io { .. } | Self::TooLarge { .. } => None,
        }
    }

    /// Whether a later append may succeed: nothing of this one was kept.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Postgres(error) => error.is_away(),
            _ => false,
        }
    }

    /// Whether the journal takes nothing any more.
    pub fn is_final(&self) -> bool {
        let is_refusal = match self {
            Self::TooLarge { .. } => true,
            Self::Postgres(error) => error.is_refusal(),
            _ => false,
        };
        !self.is_full() && !is_refusal
    }

    /// The error of a failed act; no room is told apart from the rest.
    fn io(act: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            _ => Self::Io { act, path, source },
        }
    }
}
