//! What the search rows are asked. Invariant: rows only say where to look; the answer is what stands there in the
//! journal.

use jiff::Timestamp;
use seatbeat_ledger::fold::Reading;
use seatbeat_ledger::fold::evidence::Evidence;
use seatbeat_proto::ids::{MachineId, SpoolId};

use crate::journal::{FileReader, JournalError, Position};
use crate::lookup::{Lookup, LookupError};

/// A question that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The rows cannot be read.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Evidence, and where it stands in the journal.
pub type Found = (Position, Evidence);

/// The evidence at a place of a chain. After a fork it is what came first.
///
/// # Errors
/// When the rows are not checked yet, or they or the journal cannot be read.
pub fn evidence(
    lookup: &Lookup,
    reader: &FileReader,
    machine: &MachineId,
    spool: &SpoolId,
    sequence: u64,
) -> Result<Option<Found>, SearchError> {
    for position in lookup.evidence(machine, sequence)? {
        let found = read(reader, position, machine)?;
        let here = |(evidence, is_fork): &(Evidence, bool)| {
            !is_fork && evidence.spool == *spool && evidence.sequence == sequence
        };
        if let Some((evidence, _)) = found.filter(here) {
            return Ok(Some((position, evidence)));
        }
    }
    Ok(None)
}

/// A machine's newest evidence, what was recorded last first; none is found while the rows are not checked.
///
/// # Errors
/// When the rows or the journal cannot be read.
pub fn recent(
    lookup: &Lookup,
    reader: &FileReader,
    machine: &MachineId,
    limit: usize,
) -> Result<Vec<Found>, SearchError> {
    let mut found = Vec::new();
    for position in lookup.recent(machine, limit)? {
        found.extend(read(reader, position, machine)?.map(|(evidence, _)| (position, evidence)));
    }
    Ok(found)
}

/// A machine's evidence that was observed in these instants or on the days around them, in the order of its records;
/// none is found while the rows are not checked.
///
/// # Errors
/// When the rows or the journal cannot be read.
pub fn around(
    lookup: &Lookup,
    reader: &FileReader,
    machine: &MachineId,
    first: Timestamp,
    end: Timestamp,
) -> Result<Vec<Found>, SearchError> {
    let mut found = Vec::new();
    for position in lookup.around(machine, first, end)? {
        found.extend(read(reader, position, machine)?.map(|(evidence, _)| (position, evidence)));
    }
    Ok(found)
}

/// The machine's evidence at a position, and whether it was recorded as a fork.
fn read(
    reader: &FileReader,
    position: Position,
    machine: &MachineId,
) -> Result<Option<(Evidence, bool)>, JournalError> {
    let records = reader.read_from(position, 1)?;
    let reading = records.first().map(|(_, record)| Reading::of(record));
    Ok(reading.and_then(|reading| {
        let is_fork = reading.is_fork();
        let evidence = reading.into_evidence().filter(|evidence| evidence.machine == *machine)?;
        Some((evidence, is_fork))
    }))
}
