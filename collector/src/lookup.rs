//! Search rows: where a machine's evidence stands in the journal. Invariant: only ever a shortcut into the journal.
//! What lies on the disk carries the position it reflects, written together with it, and is thrown away whenever that
//! or a row is in doubt; what came since is in memory alone and comes back from the journal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use seatbeat_proto::ids::MachineId;
use sha2::{Digest as _, Sha256};

use crate::journal::Position;
use crate::rows::{BATCH_ROWS_MAX, Change, Rows, RowsError};

/// Records whose rows are written to the disk at once: some milliseconds of work for each so many reports, and at most
/// half a second of reading the journal again after a start. Part of the layout.
pub const RUN_RECORDS: u64 = 65_536;

/// Runs that may wait in memory for a disk that takes none, 12 MiB; then the journal keeps them until it does.
const RUNS_WAITING_MAX: usize = 8;

/// The blocks of a run, each of some machines' places: a question reads one of them.
const BUCKETS: u32 = 256;

/// Places of one row, so that its value has 4 KiB at most: sled puts large ones into files that nobody syncs.
const PLACES_OF_ROW: usize = 256;

// Of a run's rows each is full but the last of each bucket.
const _: () = assert!(RUN_RECORDS as usize / PLACES_OF_ROW + BUCKETS as usize <= BATCH_ROWS_MAX);

/// Rows of another layout are thrown away.
const LAYOUT: &[u8] = b"seatbeat lookup 2";

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// What can be wrong with lookup rows.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The rows cannot be thrown away.
    #[error("failed to throw the lookup rows in `{folder}` away")]
    Discard {
        /// Where they are.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The rows cannot be read or written. A new start makes them anew.
    #[error("failed to use the lookup rows")]
    Rows(#[from] RowsError),
    /// They are not checked yet.
    #[error("the lookup rows are being checked")]
    Unchecked,
}

/// Where one piece of evidence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Stands for the machine; others may have the same.
    tag: u64,
    /// In the journal.
    position: Position,
    /// The lower half of its place in its chain.
    sequence: u32,
    /// The UTC day on which it was observed, counted from 1970-01-01; the nearest that has a number here.
    day: u16,
}

impl Place {
    /// The place of a machine's evidence.
    pub fn new(machine: &MachineId, sequence: u64, observed_at: Timestamp, position: Position) -> Self {
        Self { tag: tag(machine), position, sequence: sequence as u32, day: day(observed_at) }
    }

    fn bucket(&self) -> u32 {
        bucket(self.tag)
    }
}

/// What became of places that were brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brought {
    /// They are found from now on.
    Kept,
    /// They are found from now on, and there is a run to write.
    RunFull,
    /// Others before them are missing, or there is no room: they have to be brought again from the journal.
    TooEarly,
}

/// Rows in a file larger than this are checked while the collector runs already: reading this much takes a second.
const CHECKED_AT_ONCE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Open lookup rows.
pub struct Lookup {
    folder: PathBuf,
    /// None while they are not checked.
    known: RwLock<Option<Known>>,
}

struct Known {
    rows: Arc<Rows>,
    /// The first position that is not on the disk: a whole number of runs.
    written: Position,
    /// Places from there on, in the order of their positions.
    recent: Vec<Place>,
    /// The position behind the last record that is reflected.
    end: Position,
}

impl Lookup {
    /// Opens the rows; they reflect nothing, and nothing is on the disk, when they were missing, empty, damaged, of
    /// another layout, or ahead of the journal.
    ///
    /// # Errors
    /// When another process has them open, or rows in doubt cannot be thrown away.
    pub fn open(folder: &Path, journal_size: Position) -> Result<Self, LookupError> {
        let lookup = Self { folder: folder.to_owned(), known: RwLock::new(None) };
        lookup.check(journal_size)?;
        Ok(lookup)
    }

    /// As [`Lookup::open`], but of many rows none is looked at before [`Lookup::check`].
    ///
    /// # Errors
    /// As [`Lookup::open`].
    pub fn open_soon(folder: &Path, journal_size: Position) -> Result<Self, LookupError> {
        let many = fs::metadata(folder.join("sled/db"))
            .is_ok_and(|found| found.is_file() && found.len() > CHECKED_AT_ONCE_BYTES_MAX);
        if many {
            return Ok(Self { folder: folder.to_owned(), known: RwLock::new(None) });
        }
        Self::open(folder, journal_size)
    }

    /// Reads every row, and throws them all away when one is in doubt; until it returns they reflect nothing. Rows
    /// that are checked already stay as they are.
    ///
    /// # Errors
    /// As [`Lookup::open`].
    pub fn check(&self, journal_size: Position) -> Result<(), LookupError> {
        if self.known().is_some() {
            return Ok(());
        }
        let (rows, written) = checked(&self.folder, journal_size)?;
        *self.known_mut() = Some(Known { rows: Arc::new(rows), written, recent: Vec::new(), end: written });
        Ok(())
    }

    /// Takes the places among the records `first..next` in, in the order of their positions, when they are the next
    /// ones.
    pub fn bring(&self, first: Position, next: Position, places: impl IntoIterator<Item = Place>) -> Brought {
        let mut known = self.known_mut();
        let Some(known) = known.as_mut() else { return Brought::TooEarly };
        let waiting_max = RUNS_WAITING_MAX * RUN_RECORDS as usize;
        if known.end != first || known.recent.len() >= waiting_max {
            return Brought::TooEarly;
        }
        known.recent.extend(places);
        known.end = next;
        if known.has_full_run() { Brought::RunFull } else { Brought::Kept }
    }

    /// Writes the runs that are full to the disk.
    ///
    /// # Errors
    /// When the rows are not checked yet or cannot be written; those that are not stay in memory.
    pub fn write_full_runs(&self) -> Result<(), LookupError> {
        while let Some(FullRun { rows, first, places }) = self.full_run()? {
            let next = first.plus(RUN_RECORDS);
            rows.write(&encode_run(first, places), &stamp(next))?;
            // Nothing depends on it but how much is read again after the next start.
            rows.sync()?;
            if let Some(known) = self.known_mut().as_mut() {
                let kept = known.recent.partition_point(|place| place.position < next);
                known.recent.drain(..kept);
                known.written = next;
            }
        }
        Ok(())
    }

    /// The position behind the last record that these rows reflect.
    pub fn reflected(&self) -> Position {
        self.known().as_ref().map_or(Position(0), |known| known.end)
    }

    /// Where evidence with this sequence may stand in the journal, of this machine or another, the oldest first: what
    /// stands there has to be read.
    ///
    /// # Errors
    /// When the rows are not checked yet or cannot be read.
    pub fn evidence(&self, machine: &MachineId, sequence: u64) -> Result<Vec<Position>, LookupError> {
        let found = self.all(machine, |place| place.sequence == sequence as u32)?;
        found.ok_or(LookupError::Unchecked)
    }

    /// Where a machine's evidence may stand, or another's, that was observed in these instants or on the days around
    /// them, the oldest first. None is found while the rows are not checked.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn around(
        &self,
        machine: &MachineId,
        first: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<Position>, LookupError> {
        let days = day(first)..=day(end);
        Ok(self.all(machine, |place| days.contains(&place.day))?.unwrap_or_default())
    }

    /// Where a machine's evidence may stand, or another's: what was recorded last first. None is found while the rows
    /// are not checked.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn recent(&self, machine: &MachineId, limit: usize) -> Result<Vec<Position>, LookupError> {
        let tag = tag(machine);
        let Some((runs, recent)) = self.seen(tag, |_| true) else { return Ok(Vec::new()) };
        let mut found: Vec<Position> = recent.into_iter().rev().collect();
        for run in (0..runs.count).rev() {
            if found.len() >= limit {
                break;
            }
            found.extend(runs.places(run, tag, |_| true)?.into_iter().rev());
        }
        found.truncate(limit);
        Ok(found)
    }

    /// All places of a machine that are wanted, in order; none while the rows are not checked.
    fn all(
        &self,
        machine: &MachineId,
        is_wanted: impl Fn(&Place) -> bool,
    ) -> Result<Option<Vec<Position>>, LookupError> {
        let tag = tag(machine);
        let Some((runs, recent)) = self.seen(tag, &is_wanted) else { return Ok(None) };
        let mut found = Vec::new();
        for run in 0..runs.count {
            found.extend(runs.places(run, tag, &is_wanted)?);
        }
        found.extend(recent);
        Ok(Some(found))
    }

    /// What is on the disk, and the places in memory behind that: nobody waits while the disk is read.
    fn seen(&self, tag: u64, is_wanted: impl Fn(&Place) -> bool) -> Option<(Runs, Vec<Position>)> {
        let known = self.known();
        let known = known.as_ref()?;
        let count = (known.written.0 / RUN_RECORDS) as u32;
        let recent = known.recent.iter().filter(|place| place.tag == tag && is_wanted(place));
        Some((Runs { rows: Arc::clone(&known.rows), count }, recent.map(|place| place.position).collect()))
    }

    /// The next run that is not on the disk, when it is full.
    fn full_run(&self) -> Result<Option<FullRun>, LookupError> {
        let known = self.known();
        let known = known.as_ref().ok_or(LookupError::Unchecked)?;
        if !known.has_full_run() {
            return Ok(None);
        }
        let next = known.written.plus(RUN_RECORDS);
        let count = known.recent.partition_point(|place| place.position < next);
        let (rows, places) = (Arc::clone(&known.rows), known.recent[..count].to_vec());
        Ok(Some(FullRun { rows, first: known.written, places }))
    }

    fn known(&self) -> RwLockReadGuard<'_, Option<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Option<Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn has_full_run(&self) -> bool {
        self.end.0 >= self.written.0 + RUN_RECORDS
    }
}

/// A run to be written.
struct FullRun {
    rows: Arc<Rows>,
    first: Position,
    places: Vec<Place>,
}

/// The runs on the disk.
struct Runs {
    rows: Arc<Rows>,
    count: u32,
}

impl Runs {
    /// Places in one of them, in order.
    fn places(
        &self,
        run: u32,
        tag: u64,
        is_wanted: impl Fn(&Place) -> bool,
    ) -> Result<Vec<Position>, LookupError> {
        let first = Position(u64::from(run) * RUN_RECORDS);
        let rows = self.rows.scan(&bucket_prefix(first, bucket(tag)), BATCH_ROWS_MAX, false)?;
        let places = rows.iter().flat_map(|(_, value)| decode(first, value));
        Ok(places.filter(|place| place.tag == tag && is_wanted(place)).map(|place| place.position).collect())
    }
}

/// Rows that are, all together, what was written, and the position that they reflect.
fn checked(folder: &Path, journal_size: Position) -> Result<(Rows, Position), LookupError> {
    match Rows::open(folder, false) {
        Ok(rows) => match reflected(&rows) {
            Some(position) if position <= journal_size => return Ok((rows, position)),
            Some(position) => {
                tracing::warn!(%position, %journal_size, "the lookup rows are ahead of the journal, made anew");
            }
            None if rows.stamp().is_empty() => return Ok((rows, Position(0))),
            None => tracing::warn!("the lookup rows have another layout, made anew"),
        },
        Err(error @ RowsError::InUse { .. }) => return Err(error.into()),
        Err(error) => tracing::warn!(%error, "the lookup rows are made anew"),
    }
    fs::remove_dir_all(folder)
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .map_err(|source| LookupError::Discard { folder: folder.into(), source })?;
    Ok((Rows::open(folder, false)?, Position(0)))
}

fn tag(machine: &MachineId) -> u64 {
    let digest: [u8; 32] = Sha256::digest(machine.as_str()).into();
    let (tag, _) = digest.split_first_chunk().expect("a digest is longer than a tag");
    u64::from_be_bytes(*tag)
}

fn day(at: Timestamp) -> u16 {
    at.as_second().div_euclid(SECONDS_PER_DAY).clamp(0, i64::from(u16::MAX)) as u16
}

fn bucket(tag: u64) -> u32 {
    (tag % u64::from(BUCKETS)) as u32
}

fn stamp(position: Position) -> Vec<u8> {
    [LAYOUT, &position.0.to_be_bytes()].concat()
}

fn reflected(rows: &Rows) -> Option<Position> {
    let stamp = rows.stamp();
    let position = u64::from_be_bytes(stamp.strip_prefix(LAYOUT)?.try_into().ok()?);
    position.is_multiple_of(RUN_RECORDS).then_some(Position(position))
}

/// Rows of one run stand together, in the order of their buckets.
fn bucket_prefix(first: Position, bucket: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&first.0.to_be_bytes());
    key[8..].copy_from_slice(&bucket.to_be_bytes());
    key
}

/// The rows of a run that begins at `first`.
fn encode_run(first: Position, mut places: Vec<Place>) -> Vec<Change> {
    places.sort_unstable_by_key(|place| (place.bucket(), place.position));
    let buckets = places.chunk_by(|one, other| one.bucket() == other.bucket());
    let row = |(part, places): (usize, &[Place])| {
        let prefix = bucket_prefix(first, places[0].bucket());
        let key = [prefix.as_slice(), &(part as u16).to_be_bytes()].concat();
        (key, Some(places.iter().flat_map(|place| encode(first, place)).collect()))
    };
    buckets.flat_map(|places| places.chunks(PLACES_OF_ROW).enumerate().map(row)).collect()
}

const PLACE_LENGTH: usize = 8 + 4 + 2 + 2;

fn encode(first: Position, place: &Place) -> [u8; PLACE_LENGTH] {
    let mut bytes = [0; PLACE_LENGTH];
    bytes[..8].copy_from_slice(&place.tag.to_be_bytes());
    bytes[8..12].copy_from_slice(&place.sequence.to_be_bytes());
    bytes[14..].copy_from_slice(&place.day.to_be_bytes());
    bytes[12..14].copy_from_slice(&((place.position.0 - first.0) as u16).to_be_bytes());
    bytes
}

fn decode(first: Position, value: &[u8]) -> impl Iterator<Item = Place> {
    value.as_chunks::<PLACE_LENGTH>().0.iter().map(move |bytes| {
        let [t0, t1, t2, t3, t4, t5, t6, t7, s0, s1, s2, s3, p0, p1, d0, d1] = *bytes;
        Place {
            tag: u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            position: first.plus(u64::from(u16::from_be_bytes([p0, p1]))),
            day: u16::from_be_bytes([d0, d1]),
        }
    })
}

#[cfg(test)]
mod tests;
