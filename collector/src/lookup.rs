//! Lookup rows: where a report stands in the journal, and what is new of a machine.
//! Invariant: only ever a shortcut into the journal. The rows carry the position they reflect, written together with
//! them, and are thrown away whenever that or a row is in doubt.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;
use seatbeat_proto::ids::{MachineId, SpoolId};

use crate::journal::Position;
use crate::rows::{BATCH_ROWS_MAX, Change, Rows, RowsError};

/// Positions kept of one machine's day: an agent makes at most some 200 reports a day. The oldest give way.
pub const DAY_POSITIONS_MAX: usize = 512;

/// Rows of another layout are thrown away.
const LAYOUT: &[u8] = b"seatbeat lookup 1";

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
    /// The rows would go back.
    #[error("the lookup rows reflect position {reflected}, later than {position}")]
    Backwards {
        /// What they reflect.
        reflected: Position,
        /// What they were told to.
        position: Position,
    },
}

/// One piece of evidence in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupRow {
    /// Whose it is.
    pub machine: MachineId,
    /// In which chain.
    pub spool: SpoolId,
    /// Its place there.
    pub sequence: u64,
    /// The hash of its payload.
    pub hash: [u8; 32],
    /// When it was observed; its UTC day is what it is found by.
    pub observed_at: Timestamp,
    /// Where it stands in the journal.
    pub position: Position,
    /// Other content stands at its place of the chain already: that stays the one which is found there.
    pub forked: bool,
}

/// Rows in a file larger than this are checked while the collector runs already: reading this much takes a second.
const CHECKED_AT_ONCE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Open lookup rows.
pub struct Lookup {
    folder: PathBuf,
    /// None while they are not checked.
    rows: RwLock<Option<Rows>>,
}

impl Lookup {
    /// Opens the rows, and says from which position on the journal has to be applied: 0, with no rows, when they
    /// were missing, empty, damaged, of another layout, or ahead of the journal.
    ///
    /// # Errors
    /// When another process has them open, or rows in doubt cannot be thrown away.
    pub fn open(folder: &Path, journal_size: Position) -> Result<(Self, Position), LookupError> {
        let lookup = Self { folder: folder.to_owned(), rows: RwLock::new(None) };
        let position = lookup.check(journal_size)?;
        Ok((lookup, position))
    }

    /// As [`Lookup::open`], but of many rows none is looked at before [`Lookup::check`], and no position is known.
    ///
    /// # Errors
    /// As [`Lookup::open`].
    pub fn open_soon(folder: &Path, journal_size: Position) -> Result<(Self, Option<Position>), LookupError> {
        let many = fs::metadata(folder.join("sled/db"))
            .is_ok_and(|found| found.is_file() && found.len() > CHECKED_AT_ONCE_BYTES_MAX);
        if many {
            let rows = RwLock::new(None);
            return Ok((Self { folder: folder.to_owned(), rows }, None));
        }
        let (lookup, position) = Self::open(folder, journal_size)?;
        Ok((lookup, Some(position)))
    }

    /// Reads every row, and throws them all away when one is in doubt; the position from which on the journal has to
    /// be applied. Until it returns the rows reflect nothing.
    ///
    /// # Errors
    /// As [`Lookup::open`].
    pub fn check(&self, journal_size: Position) -> Result<Position, LookupError> {
        let (rows, position) = checked(&self.folder, journal_size)?;
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = Some(rows);
        Ok(position)
    }

    fn with<T>(&self, ask: impl FnOnce(&Rows) -> Result<T, LookupError>) -> Result<T, LookupError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        ask(rows.as_ref().ok_or(LookupError::Unchecked)?)
    }

    /// Writes rows and the position that they bring the lookup to. The same rows again change nothing. More than
    /// fit into one batch are written in several; the position moves with the last.
    ///
    /// # Errors
    /// When the position lies behind the one reflected, or the rows cannot be written.
    pub fn apply(&self, position: Position, rows: &[LookupRow]) -> Result<(), LookupError> {
        let before = self.reflected();
        if position < before {
            return Err(LookupError::Backwards { reflected: before, position });
        }
        // Each piece of evidence changes at most two rows.
        let mut batches = rows.chunks(BATCH_ROWS_MAX / 2).peekable();
        self.with(|rows| {
            if batches.peek().is_none() {
                return Ok(rows.write(&[], &stamp(position))?);
            }
            while let Some(batch) = batches.next() {
                let reached = if batches.peek().is_none() { position } else { before };
                rows.write(&changes(rows, batch)?, &stamp(reached))?;
            }
            Ok(())
        })
    }

    /// The position behind the last record that these rows reflect.
    pub fn reflected(&self) -> Position {
        self.with(|rows| Ok(reflected(rows).unwrap_or_default())).unwrap_or_default()
    }

    /// The evidence at a place of a chain: where it stands in the journal, and the hash of its payload. After a fork
    /// it is what came first.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn evidence(
        &self,
        machine: &MachineId,
        spool: &SpoolId,
        sequence: u64,
    ) -> Result<Option<(Position, [u8; 32])>, LookupError> {
        let value = self.with(|rows| Ok(rows.get(&evidence_key(machine, spool, sequence))?))?;
        Ok(value.as_deref().and_then(decode_evidence))
    }

    /// Where a machine's evidence stands that was observed in these instants or on the days around them, in the order
    /// of the days. None is found while the rows are not checked.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn around(
        &self,
        machine: &MachineId,
        first: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<Position>, LookupError> {
        let day = |at: Timestamp| at.as_second().div_euclid(SECONDS_PER_DAY);
        let mut found = Vec::new();
        for number in day(first)..=day(end) {
            let Ok(at) = Timestamp::from_second(number.saturating_mul(SECONDS_PER_DAY)) else { continue };
            let row = match self.with(|rows| Ok(rows.get(&day_key(machine, at))?)) {
                Err(LookupError::Unchecked) => None,
                row => row?,
            };
            found.extend(row.map(|value| decode_positions(&value)).unwrap_or_default());
        }
        Ok(found)
    }

    /// Where a machine's evidence stands: the newest day first, and within a day what was recorded last first. None is
    /// found while the rows are not checked.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn recent(&self, machine: &MachineId, limit: usize) -> Result<Vec<Position>, LookupError> {
        // A day row holds at least one position, so `limit` days are enough.
        let days = match self.with(|rows| Ok(rows.scan(&day_prefix(machine), limit, true)?)) {
            Err(LookupError::Unchecked) => Vec::new(),
            days => days?,
        };
        let newest_first = days.iter().flat_map(|(_, value)| decode_positions(value).into_iter().rev());
        Ok(newest_first.take(limit).collect())
    }
}

/// Rows that are, all together, what was written, and the position that they reflect.
fn checked(folder: &Path, journal_size: Position) -> Result<(Rows, Position), LookupError> {
    match Rows::open(folder, true) {
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
    Ok((Rows::open(folder, true)?, Position(0)))
}

fn changes(rows: &Rows, batch: &[LookupRow]) -> Result<Vec<Change>, LookupError> {
    let mut evidence = BTreeMap::new();
    let mut days = BTreeMap::new();
    for row in batch {
        let key = evidence_key(&row.machine, &row.spool, row.sequence);
        if !row.forked && !evidence.contains_key(&key) && rows.get(&key)?.is_none() {
            evidence.insert(key, encode_evidence(row));
        }
        let key = day_key(&row.machine, row.observed_at);
        if !days.contains_key(&key) {
            let known = rows.get(&key)?.map(|value| decode_positions(&value)).unwrap_or_default();
            days.insert(key.clone(), known);
        }
        if let Some(positions) = days.get_mut(&key)
            && let Err(place) = positions.binary_search(&row.position)
        {
            positions.insert(place, row.position);
        }
    }
    let days = days.into_iter().map(|(key, positions)| (key, encode_positions(&positions)));
    Ok(evidence.into_iter().chain(days).map(|(key, value)| (key, Some(value))).collect())
}

fn stamp(position: Position) -> Vec<u8> {
    [LAYOUT, &position.0.to_be_bytes()].concat()
}

fn reflected(rows: &Rows) -> Option<Position> {
    let stamp = rows.stamp();
    let position = stamp.strip_prefix(LAYOUT)?.try_into().ok()?;
    Some(Position(u64::from_be_bytes(position)))
}

/// No id holds a zero byte, so no key is the beginning of another's.
fn evidence_key(machine: &MachineId, spool: &SpoolId, sequence: u64) -> Vec<u8> {
    let (machine, spool) = (machine.as_str().as_bytes(), spool.as_str().as_bytes());
    [b"e", machine, b"\0", spool, b"\0", &sequence.to_be_bytes()].concat()
}

fn day_prefix(machine: &MachineId) -> Vec<u8> {
    [b"d", machine.as_str().as_bytes(), b"\0"].concat()
}

fn day_key(machine: &MachineId, observed_at: Timestamp) -> Vec<u8> {
    let day = observed_at.as_second().div_euclid(SECONDS_PER_DAY) as i32;
    // With the sign turned, days before 1970 sort before those after it.
    let sorted = (day as u32) ^ (1 << 31);
    [day_prefix(machine).as_slice(), &sorted.to_be_bytes()].concat()
}

fn encode_evidence(row: &LookupRow) -> Vec<u8> {
    [row.position.0.to_be_bytes().as_slice(), &row.hash].concat()
}

fn decode_evidence(value: &[u8]) -> Option<(Position, [u8; 32])> {
    let (position, hash) = value.split_first_chunk::<8>()?;
    Some((Position(u64::from_be_bytes(*position)), hash.try_into().ok()?))
}

/// The newest [`DAY_POSITIONS_MAX`] positions, in order.
fn encode_positions(positions: &[Position]) -> Vec<u8> {
    let kept = &positions[positions.len().saturating_sub(DAY_POSITIONS_MAX)..];
    kept.iter().flat_map(|position| position.0.to_be_bytes()).collect()
}

fn decode_positions(value: &[u8]) -> Vec<Position> {
    value.as_chunks::<8>().0.iter().map(|position| Position(u64::from_be_bytes(*position))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::damage::{files, places, restore};

    fn machine() -> MachineId {
        "mch_a".parse().unwrap()
    }

    fn spool() -> SpoolId {
        "spl_a".parse().unwrap()
    }

    fn row(position: u64, sequence: u64, day: i64) -> LookupRow {
        LookupRow {
            machine: machine(),
            spool: spool(),
            sequence,
            hash: [sequence as u8; 32],
            observed_at: Timestamp::from_second(day * SECONDS_PER_DAY + 5).unwrap(),
            position: Position(position),
            forked: false,
        }
    }

    /// A closed lookup that reflects position 20, and a folder around it.
    fn closed() -> (tempfile::TempDir, PathBuf) {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("lookup");
        let (lookup, from) = Lookup::open(&folder, Position(20)).unwrap();
        assert_eq!(from, Position(0));
        let rows: Vec<_> = (0..20).map(|at| row(at, at + 1, at as i64 / 4)).collect();
        lookup.apply(Position(20), &rows).unwrap();
        lookup.with(|rows| Ok(rows.sync()?)).unwrap();
        (around, folder)
    }

    /// Opened, it is either whole or empty and to be made from the start; which of the two.
    fn check_all_or_nothing(folder: &Path, journal_size: u64, why: &str) -> bool {
        let (lookup, from) = Lookup::open(folder, Position(journal_size)).unwrap();
        let whole = from == Position(20);
        assert!(whole || from == Position(0), "{why}: {from}");
        for sequence in 1..=20u64 {
            let expected = whole.then(|| (Position(sequence - 1), [sequence as u8; 32]));
            assert_eq!(lookup.evidence(&machine(), &spool(), sequence).unwrap(), expected, "{why}");
        }
        assert_eq!(lookup.recent(&machine(), 99).unwrap().len(), if whole { 20 } else { 0 }, "{why}");
        whole
    }

    #[test]
    fn evidence_is_found_by_the_days_around_some_instants() {
        let (_around, folder) = closed();
        let (lookup, _) = Lookup::open(&folder, Position(20)).unwrap();
        let at = |day: i64| Timestamp::from_second(day * SECONDS_PER_DAY + 7).unwrap();
        let found = |first, end| -> Vec<u64> {
            lookup.around(&machine(), at(first), at(end)).unwrap().iter().map(|one| one.0).collect()
        };
        assert_eq!(found(1, 2), [4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(found(4, 9), [16, 17, 18, 19]);
        assert_eq!(found(7, 9), [0; 0]);
    }

    #[test]
    fn rows_are_found_after_a_restart_which_goes_on_where_they_end() {
        let (_around, folder) = closed();
        assert!(check_all_or_nothing(&folder, 20, "as large as the journal"));
        assert!(check_all_or_nothing(&folder, 31, "behind the journal"));
    }

    #[test]
    fn rows_that_are_not_checked_reflect_nothing_and_none_is_found() {
        let (_around, folder) = closed();
        let lookup = Lookup { folder, rows: RwLock::new(None) };
        assert_eq!((lookup.reflected(), lookup.recent(&machine(), 9).unwrap()), (Position(0), vec![]));
        assert!(matches!(lookup.evidence(&machine(), &spool(), 1), Err(LookupError::Unchecked)));
        assert!(lookup.apply(Position(21), &[row(20, 21, 9)]).is_err());
        assert_eq!(lookup.check(Position(20)).unwrap(), Position(20));
        assert_eq!((lookup.reflected(), lookup.recent(&machine(), 99).unwrap().len()), (Position(20), 20));
    }

    #[test]
    fn rows_ahead_of_the_journal_are_thrown_away() {
        let (_around, folder) = closed();
        assert!(!check_all_or_nothing(&folder, 19, "ahead"));
        assert!(!check_all_or_nothing(&folder, 20, "gone since"));
    }

    #[test]
    fn deleted_or_emptied_files_are_all_or_nothing() {
        let (_around, folder) = closed();
        let whole = files(&folder);
        for (path, _) in &whole {
            for emptied in [false, true] {
                restore(&folder, &whole);
                fs::remove_file(path).unwrap();
                if emptied {
                    fs::write(path, b"").unwrap();
                }
                check_all_or_nothing(&folder, 20, &format!("{} gone (emptied: {emptied})", path.display()));
            }
        }
        fs::remove_dir_all(&folder).unwrap();
        assert!(!check_all_or_nothing(&folder, 20, "all gone"));
    }

    #[test]
    fn a_flipped_byte_is_all_or_nothing() {
        let (_around, folder) = closed();
        let whole = files(&folder);
        let mut thrown_away = 0;
        for (path, bytes) in &whole {
            for at in places(bytes, 50) {
                restore(&folder, &whole);
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x40;
                fs::write(path, damaged).unwrap();
                let why = format!("byte {at} of {}", path.display());
                thrown_away += usize::from(!check_all_or_nothing(&folder, 20, &why));
            }
        }
        assert!(thrown_away > 0);
    }

    #[test]
    fn another_layout_is_thrown_away() {
        let (_around, folder) = closed();
        let (lookup, _) = Lookup::open(&folder, Position(20)).unwrap();
        lookup.with(|rows| Ok(rows.write(&[], b"seatbeat lookup 0........")?)).unwrap();
        drop(lookup);
        assert!(!check_all_or_nothing(&folder, 20, "another layout"));
    }

    #[test]
    fn recent_evidence_comes_newest_day_first() {
        let around = tempfile::tempdir().unwrap();
        let (lookup, _) = Lookup::open(around.path(), Position(0)).unwrap();
        let rows = [row(0, 1, 10), row(1, 2, 10), row(2, 3, -1), row(3, 4, 11), row(4, 5, 9)];
        lookup.apply(Position(5), &rows).unwrap();
        let other = LookupRow { machine: "mch_ab".parse().unwrap(), ..row(5, 1, 12) };
        lookup.apply(Position(6), &[other]).unwrap();
        let recent = |limit| lookup.recent(&machine(), limit).unwrap();
        assert_eq!(recent(9), [3, 1, 0, 4, 2].map(Position));
        assert_eq!(recent(2), [3, 1].map(Position));
        assert_eq!(recent(0), []);
    }

    #[test]
    fn the_same_rows_again_change_nothing_and_the_position_never_goes_back() {
        let around = tempfile::tempdir().unwrap();
        let (lookup, _) = Lookup::open(around.path(), Position(0)).unwrap();
        let rows: Vec<_> = (0..1500).map(|at| row(at, at + 1, at as i64 / 100)).collect();
        for _ in 0..2 {
            lookup.apply(Position(1500), &rows).unwrap();
            assert_eq!(lookup.recent(&machine(), usize::MAX).unwrap().len(), 1500);
            assert_eq!(lookup.evidence(&machine(), &spool(), 1500).unwrap().unwrap().0, Position(1499));
        }
        assert!(matches!(lookup.apply(Position(1499), &[]), Err(LookupError::Backwards { .. })));
        assert_eq!(lookup.reflected(), Position(1500));
    }

    #[test]
    fn after_a_fork_what_came_first_is_found_and_both_are_recent() {
        let around = tempfile::tempdir().unwrap();
        let (lookup, _) = Lookup::open(around.path(), Position(0)).unwrap();
        lookup.apply(Position(1), &[row(0, 1, 3)]).unwrap();
        let fork = LookupRow { hash: [99; 32], forked: true, ..row(1, 1, 3) };
        let unnoticed = LookupRow { hash: [98; 32], ..row(2, 1, 3) };
        lookup.apply(Position(3), &[fork, unnoticed]).unwrap();
        assert_eq!(lookup.evidence(&machine(), &spool(), 1).unwrap(), Some((Position(0), [1; 32])));
        assert_eq!(lookup.recent(&machine(), 9).unwrap(), [2, 1, 0].map(Position));
    }

    #[test]
    fn the_oldest_positions_of_a_flooded_day_give_way() {
        let around = tempfile::tempdir().unwrap();
        let (lookup, _) = Lookup::open(around.path(), Position(0)).unwrap();
        let count = DAY_POSITIONS_MAX as u64 + 100;
        let rows: Vec<_> = (0..count).map(|at| row(at, at + 1, 3)).collect();
        lookup.apply(Position(count), &rows).unwrap();
        let recent = lookup.recent(&machine(), usize::MAX).unwrap();
        assert_eq!((recent.len(), recent[0]), (DAY_POSITIONS_MAX, Position(count - 1)));
    }

    #[test]
    fn a_second_open_is_refused_and_throws_nothing_away() {
        let (_around, folder) = closed();
        let (first, _) = Lookup::open(&folder, Position(20)).unwrap();
        assert!(matches!(
            Lookup::open(&folder, Position(20)),
            Err(LookupError::Rows(RowsError::InUse { .. }))
        ));
        drop(first);
        assert!(check_all_or_nothing(&folder, 20, "afterwards"));
    }
}
