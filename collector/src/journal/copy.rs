//! One journal copied into another. Invariant: nothing is written to a journal that is not a beginning of the one that is
//! copied, and the copy's root is worked out from what can be read back there.

use seatbeat_ledger::merkle::{Frontier, Hash, leaf};

use super::shared::in_batches;
use super::{Condition, Journal, JournalError, Position};

/// Records read at once.
const READ_RECORDS: usize = 4096;

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// How many records both journals hold.
    pub records: u64,
    /// How many of them were copied now.
    pub copied: u64,
    /// The root of the log over all of them.
    pub root: Hash,
}

/// A journal that was not, or not wholly, copied. What was copied stays, and the next try goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of them cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The target has more records than what is copied.
    #[error("the target holds {found} records already, more than the {expected} that there are to copy")]
    Longer {
        /// How many it has.
        found: Position,
        /// How many there are to copy.
        expected: Position,
    },
    /// The target has other records.
    #[error("the target's record {0} is another one")]
    Other(Position),
    /// What was read back is not what was copied.
    #[error("what can be read back from the target has another root")]
    Root,
}

impl CopyError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Journal(error) => error.hint(),
            Self::Longer { .. } | Self::Other(_) => Some(
                "name an empty target, or one that an earlier copy of this journal was cut short in".into(),
            ),
            Self::Root => Some("is somebody writing to it? Empty the target, and copy again".into()),
        }
    }
}

/// Copies what the target lacks. `progress` is told of every step how many records are done, and of how many.
///
/// # Errors
/// When the target is neither empty nor a beginning of what is copied, or one of them cannot be read or written.
pub fn copy(
    from: &dyn Journal,
    to: &mut dyn Journal,
    mut progress: impl FnMut(u64, u64),
) -> Result<Copied, CopyError> {
    let (all, there) = (from.size(), to.size());
    if there > all {
        return Err(CopyError::Longer { found: there, expected: all });
    }
    let mut log = Frontier::default();
    while Position(log.size()) < all {
        let at = Position(log.size());
        let left = usize::try_from(all.0 - at.0).unwrap_or(usize::MAX);
        let read = from.read_from(at, left.min(READ_RECORDS))?;
        let mut records: Vec<Vec<u8>> = read.into_iter().map(|(_, record)| record).collect();
        if records.is_empty() {
            return Err(CopyError::Other(at));
        }
        records.iter().for_each(|record| log.append_leaf(leaf(record)));
        if at < there {
            let known = to.read_from(at, records.len())?;
            let other = known.iter().zip(&records).find(|((_, known), record)| known != *record);
            if let Some(((position, _), _)) = other {
                return Err(CopyError::Other(*position));
            }
            records.drain(..known.len());
        }
        for batch in in_batches(&records) {
            let end = to.size();
            to.append_if(batch, Condition::EndsAt(end))?;
        }
        progress(log.size(), all.0);
    }
    if read_back(to)? != (all.0, log.root()) {
        return Err(CopyError::Root);
    }
    Ok(Copied { records: all.0, copied: all.0 - there.0, root: log.root() })
}

fn read_back(journal: &dyn Journal) -> Result<(u64, Hash), JournalError> {
    let mut log = Frontier::default();
    loop {
        let read = journal.read_from(Position(log.size()), READ_RECORDS)?;
        if read.is_empty() {
            return Ok((log.size(), log.root()));
        }
        read.iter().for_each(|(_, record)| log.append_leaf(leaf(record)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::FileJournal;

    fn journal(folder: &tempfile::TempDir, name: &str, records: &[Vec<u8>]) -> FileJournal {
        let mut journal = FileJournal::open(&folder.path().join(name)).unwrap();
        journal.append(records).unwrap();
        journal
    }

    #[test]
    fn a_copy_has_the_same_root_and_goes_on_where_an_earlier_one_ended() {
        let folder = tempfile::tempdir().unwrap();
        let records: Vec<Vec<u8>> = (0..1500_u32).map(|number| number.to_le_bytes().to_vec()).collect();
        let from = journal(&folder, "from", &records);
        let mut log = Frontier::default();
        records.iter().for_each(|record| log.append_leaf(leaf(record)));
        for (name, there) in [("empty", 0), ("begun", 700), ("whole", 1500)] {
            let mut to = journal(&folder, name, &records[..there]);
            let expected = Copied { records: 1500, copied: 1500 - there as u64, root: log.root() };
            let mut last = None;
            let copied = copy(&from, &mut to, |done, of| last = Some((done, of))).unwrap();
            assert_eq!((copied, last), (expected, Some((1500, 1500))), "{name}");
            assert_eq!(to.read_from(Position(1499), 9).unwrap(), from.read_from(Position(1499), 9).unwrap());
        }
    }

    #[test]
    fn a_target_with_other_records_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let records: Vec<Vec<u8>> = ["a", "b", "c"].map(|text| text.as_bytes().to_vec()).to_vec();
        let from = journal(&folder, "from", &records);
        let mut other = journal(&folder, "other", &[b"a".to_vec(), b"x".to_vec()]);
        let error = copy(&from, &mut other, |_, _| ()).unwrap_err();
        assert!(matches!(error, CopyError::Other(Position(1))), "{error}");
        let mut longer = journal(&folder, "longer", &[records.clone(), records.clone()].concat());
        let error = copy(&from, &mut longer, |_, _| ()).unwrap_err();
        assert!(matches!(error, CopyError::Longer { .. }) && error.hint().is_some(), "{error}");
        assert_eq!((other.size(), longer.size()), (Position(2), Position(6)));
    }
}
