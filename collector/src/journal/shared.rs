//! A journal in a database that other collectors append to as well, and a copy of it in files here. Invariant: the copy
//! holds the database's records from the first on, or from where archives end, without a gap; what this process has seen
//! of the database is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::archive::{ArchiveError, Index};
use super::archiver::begin_behind;
use super::disk::Disk;
use super::file::{BATCH_BYTES_MAX, FileJournal};
use super::postgres::PostgresJournal;
use super::writer::{BATCH_RECORDS_MAX, GATHER_BYTES_MAX};
use super::{Condition, Journal, JournalError, Position};
use crate::postgres::{Address, PostgresError};
use crate::store::lay_aside;

/// How often what others appended is looked for: an order waits this long at most for the collector that its machine is
/// connected to.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Records after which a long fetch says how far it is.
const PROGRESS_EVERY: u64 = 1_000_000;

/// Room on the copy's disk below which nothing is appended: what the database keeps has to fit in here, too.
const ROOM_BYTES_MIN: u64 = 64 * 1024 * 1024 + BATCH_BYTES_MAX as u64;

/// A journal that others append to as well, as its copy asks it.
pub trait Table: Journal {
    /// Asks for the size anew.
    ///
    /// # Errors
    /// When it cannot be asked; whether it may be again later says [`JournalError::is_full`].
    fn ask_size(&mut self) -> Result<Position, JournalError>;

    /// How often it was connected to: behind each time there may be one that lost something.
    fn sessions(&self) -> u64;

    /// Where it is, without user and password.
    fn place(&self) -> String;

    /// What of it is in archives.
    fn archived(&self) -> Index {
        Index::of(Vec::new())
    }

    /// The oldest record that it holds itself.
    fn begins(&self) -> Position {
        Position(0)
    }
}

impl Table for PostgresJournal {
    fn ask_size(&mut self) -> Result<Position, JournalError> {
        self.look()
    }

    fn sessions(&self) -> u64 {
        self.sessions()
    }

    fn place(&self) -> String {
        self.place()
    }

    fn archived(&self) -> Index {
        self.archived()
    }

    fn begins(&self) -> Position {
        self.begins()
    }
}

/// The database, and the copy.
pub struct SharedJournal<T = PostgresJournal> {
    table: T,
    copy: FileJournal,
    folder: PathBuf,
    room_bytes_min: u64,
    /// Up to which of the table's sessions it was found to hold what the copy does.
    compared: u64,
}

/// The copy's disk: what a power cut takes from it is fetched again.
#[derive(Debug)]
struct Unsynced;

impl Disk for Unsynced {
    fn sync_data(&self, _: &fs::File) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
}

impl SharedJournal<PostgresJournal> {
    /// Opens both and fetches what the copy lacks; a copy that a power cut has damaged is laid aside and made anew. A new
    /// one begins where the archives end. Segments that end before `known` are only looked at.
    ///
    /// # Errors
    /// As [`PostgresJournal::open`], and when the database does not hold what was read from it before.
    pub fn open(address: &Address, folder: &Path, known: Position) -> Result<Self, JournalError> {
        Self::open_in_segments(address, folder, known, super::SEGMENT_BYTES_MAX)
    }

    /// As [`SharedJournal::open`], with segments of another size.
    ///
    /// # Errors
    /// As [`SharedJournal::open`].
    pub fn open_in_segments(
        address: &Address,
        folder: &Path,
        known: Position,
        segment_bytes_max: u64,
    ) -> Result<Self, JournalError> {
        let table = PostgresJournal::open(address.clone())?;
        Self::over(table, folder, Arc::new(Unsynced), segment_bytes_max, known)
    }
}

impl<T: Table> SharedJournal<T> {
    /// As [`SharedJournal::open_in_segments`], of a table that is open, with a copy on a disk that may fail.
    ///
    /// # Errors
    /// As [`SharedJournal::open`].
    pub fn over(
        table: T,
        folder: &Path,
        disk: Arc<dyn Disk>,
        segment_bytes_max: u64,
        known: Position,
    ) -> Result<Self, JournalError> {
        let open = || {
            begin_behind(folder, table.archived(), disk.as_ref())?;
            FileJournal::open_on_behind(folder, Arc::clone(&disk), segment_bytes_max, known)
        };
        let copy = match open() {
            // Where the database holds nothing, the files may be all there is.
            Err(error) if is_damaged(&error) && table.size() > Position(0) => {
                let aside = lay_aside(folder)
                    .map_err(|error| JournalError::io("rename", folder, std::io::Error::other(error)))?;
                tracing::warn!(%error, ?aside, "the copy of the journal is damaged: it is made anew");
                open()?
            }
            opened => opened?,
        };
        let (folder, room_bytes_min) = (folder.to_owned(), ROOM_BYTES_MIN);
        let mut shared = Self { table, copy, folder, room_bytes_min, compared: 0 };
        shared.compare_behind_a_new_session()?;
        shared.fetch(shared.table.size())?;
        Ok(shared)
    }

    /// The copy: readers and what else works on files.
    pub fn copy(&self) -> &FileJournal {
        &self.copy
    }

    /// Whether the database holds what was read from it before: a failover may have lost its newest records.
    fn compare(&self) -> Result<(), JournalError> {
        let (copied, kept) = (self.copy.size(), self.table.size());
        let other = |what| Err(PostgresError::Other { place: self.table.place(), what }.into());
        if copied > kept {
            return other(format!("it ends at record {kept}, this collector has read {copied}"));
        }
        // What lies in archives neither of them has to fetch.
        let oldest = self.table.begins().max(self.copy.reader().begins());
        let Some(newest) = copied.0.checked_sub(1).map(Position) else { return Ok(()) };
        for position in [oldest, newest].into_iter().filter(|position| (oldest..copied).contains(position)) {
            if self.table.read_from(position, 1)? != self.copy.read_from(position, 1)? {
                return other(format!("record {position} differs"));
            }
        }
        Ok(())
    }

    /// Compares once for each session: a failover ends them all.
    fn compare_behind_a_new_session(&mut self) -> Result<(), JournalError> {
        let sessions = self.table.sessions();
        if self.compared != sessions {
            self.compare()?;
            self.compared = sessions;
        }
        Ok(())
    }

    /// Brings the copy up to a position.
    fn fetch(&mut self, until: Position) -> Result<(), JournalError> {
        let mut said = self.copy.size();
        while self.copy.size() < until {
            let at = self.copy.size();
            if at.0 >= said.0 + PROGRESS_EVERY {
                said = at;
                tracing::info!(fetched = at.0, of = until.0, "fetching the journal");
            }
            let limit = usize::try_from(until.0 - at.0).unwrap_or(usize::MAX);
            let records = self.table.read_from(at, limit)?;
            if records.is_empty() {
                let what = format!("record {at} is missing");
                return Err(PostgresError::Other { place: self.table.place(), what }.into());
            }
            let records: Vec<Vec<u8>> = records.into_iter().map(|(_, record)| record).collect();
            for batch in in_batches(&records) {
                self.copy.append(batch)?;
            }
        }
        Ok(())
    }

    /// Appends to the database, and then what came before and the batch to the copy.
    fn append_with(
        &mut self,
        batch: &[Vec<u8>],
        append: impl FnOnce(&mut T) -> Result<Position, JournalError>,
    ) -> Result<Position, JournalError> {
        if batch.is_empty() {
            return self.copy.append(batch);
        }
        self.look_for_room()?;
        let first = append(&mut self.table)?;
        self.copy_behind(first, batch).map_err(|error| behind_an_append(error, &self.folder))?;
        Ok(first)
    }

    /// Takes what the database has kept at a place, and what came before it, into the copy.
    fn copy_behind(&mut self, first: Position, batch: &[Vec<u8>]) -> Result<(), JournalError> {
        self.compare_behind_a_new_session()?;
        self.fetch(first)?;
        if self.copy.size() != first {
            let what =
                format!("it gave record {first} out again, this collector has read {}", self.copy.size());
            return Err(PostgresError::Other { place: self.table.place(), what }.into());
        }
        self.copy.append(batch).map(|_| ())
    }

    /// Refuses while nothing is kept yet: a record that the database holds and the copy cannot take stops the collector.
    fn look_for_room(&self) -> Result<(), JournalError> {
        let disk = rustix::fs::statvfs(&self.folder)
            .map_err(|errno| JournalError::io("ask for the free space of", &self.folder, errno.into()))?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < self.room_bytes_min {
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(JournalError::Full { path: self.folder.clone(), source });
        }
        Ok(())
    }
}

/// Whether a copy has to be made anew.
fn is_damaged(error: &JournalError) -> bool {
    matches!(
        error,
        JournalError::Damaged { .. }
            | JournalError::Missing { .. }
            | JournalError::Archive(ArchiveError::Index(_))
    )
}

/// Records in batches that a journal takes.
pub(super) fn in_batches(records: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |record: &&Vec<u8>| {
            bytes += record.len();
            bytes <= GATHER_BYTES_MAX
        };
        let count = rest.iter().take(BATCH_RECORDS_MAX).take_while(fits).count().max(1).min(rest.len());
        let (batch, left) = rest.split_at(count);
        rest = left;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Once the database has kept something no error may say that it did not.
fn behind_an_append(error: JournalError, folder: &Path) -> JournalError {
    if error.is_full() {
        let source = std::io::Error::other(error.to_string());
        return JournalError::Io { act: "copy what the database has kept to", path: folder.into(), source };
    }
    error
}

impl<T: Table> Journal for SharedJournal<T> {
    fn append(&mut self, batch: &[Vec<u8>]) -> Result<Position, JournalError> {
        self.append_with(batch, |table| table.append(batch))
    }

    fn append_if(&mut self, batch: &[Vec<u8>], condition: Condition) -> Result<Position, JournalError> {
        self.append_with(batch, |table| table.append_if(batch, condition))
    }

    fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        self.copy.read_from(from, limit)
    }

    fn size(&self) -> Position {
        self.copy.size()
    }

    fn look_every(&self) -> Option<Duration> {
        Some(LOOK_EVERY)
    }

    fn look(&mut self) -> Result<(), JournalError> {
        let until = self.table.ask_size()?;
        self.compare_behind_a_new_session()?;
        if until < self.copy.size() {
            return self.compare();
        }
        self.fetch(until)
    }
}

#[cfg(test)]
mod tests;
