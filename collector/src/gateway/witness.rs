//! Agents as witnesses: each report carries the newest checkpoint that its machine has seen. Invariant: a checkpoint that
//! this collector signed and whose records it does not have is told, however the store came to be set back; one that
//! it did not sign is nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::checkpoint::{Checkpoint, origin};
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::merkle::Hash;
use seatbeat_proto::instant;

use crate::books::Books;
use crate::journal::{JournalError, Position};
use crate::set_back::{SetBack, Unreached};

/// Alarm of a log that does not reach what it signed.
pub const SET_BACK: &str = "log-set-back";

/// How long after a restore agents may still bring checkpoints from before: they keep 62 days, and a day for clocks.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(63 * 24);

/// Checkpoints that wait to be compared; beyond it those that come again are.
pub(super) const WAITING_MAX: usize = 256;

/// Roots that are remembered, so that each is computed once.
const ROOTS_MAX: usize = 4096;

/// Records read at once.
const BATCH: usize = 4096;

/// What agents have shown.
pub struct Witness {
    set_back: Option<SetBack>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The last checkpoint that is not reached.
    last: Option<Unreached>,
    /// Whether that is on the disk.
    is_kept: bool,
    /// What is yet to be compared with the log.
    waiting: BTreeMap<u64, Hash>,
    /// Roots of the log behind where it was set back.
    roots: BTreeMap<u64, Hash>,
}

impl Witness {
    /// Of a store, with what it remembers; what stands there is told again.
    pub fn of(books: &Books) -> Self {
        if let Some(unsettled) = Unreached::of(books.folder()) {
            books.alarms().raise(SET_BACK, unsettled.words());
        }
        let last = Unreached::known(books.folder());
        let seen = Seen { is_kept: last.is_some(), last, ..Seen::default() };
        Self { set_back: SetBack::of(books.folder()), seen: Mutex::new(seen) }
    }

    /// Takes in what a machine has seen. Nearly always that costs nothing: it is of records that are here, in a log that
    /// was never set back.
    pub fn saw(&self, books: &Books, note: &str) {
        let Some(size) = note.lines().nth(1).and_then(|line| line.parse::<u64>().ok()) else { return };
        let is_ahead = size > books.read(Fold::position);
        if !is_ahead && !self.asks_for_root(size, books.clock().now()) {
            return;
        }
        let seen = self.seen();
        if seen.last.as_ref().is_some_and(|last| last.size >= size) {
            return;
        }
        let is_known =
            seen.roots.get(&size).is_some_and(|root| note.lines().nth(2) == Some(&STANDARD.encode(root)));
        drop(seen);
        if is_known {
            return;
        }
        let Some(checkpoint) = verified(books, note) else { return };
        if is_ahead {
            self.tell(books, &checkpoint);
            return;
        }
        let mut seen = self.seen();
        if seen.waiting.len() < WAITING_MAX {
            seen.waiting.insert(size, checkpoint.root);
        }
    }

    /// Whether records of before and of after a restore may both have stood at this size.
    fn asks_for_root(&self, size: u64, now: Timestamp) -> bool {
        self.set_back.as_ref().is_some_and(|set_back| {
            let restored_at = instant::from_ms(set_back.restored_at_ms).unwrap_or(now);
            size > set_back.frontier.size() && now.duration_since(restored_at) < REMEMBERED
        })
    }

    /// Compares what waits with the log, and keeps what was found; called now and then. Blocks.
    pub fn look(&self, books: &Books) {
        let waiting = std::mem::take(&mut self.seen().waiting);
        if let Err(error) = self.compare(books, &waiting) {
            tracing::warn!(%error, "checkpoints of agents are not compared with the log");
            self.seen().waiting.extend(waiting);
        }
        let mut seen = self.seen();
        let Some(last) = &seen.last else { return };
        if !seen.is_kept {
            match last.keep(books.folder()) {
                Ok(()) => seen.is_kept = true,
                Err(error) => tracing::warn!(%error, "the checkpoint that is not reached was not noted"),
            }
        } else if Unreached::of(books.folder()).is_none() {
            // A person has settled it. What is known stays known: it is not told twice.
            books.alarms().clear(SET_BACK);
        }
    }

    fn compare(&self, books: &Books, waiting: &BTreeMap<u64, Hash>) -> Result<(), JournalError> {
        let (Some(set_back), Some((&end, _))) = (&self.set_back, waiting.last_key_value()) else {
            return Ok(());
        };
        let mut frontier = set_back.frontier.clone();
        let mut roots = BTreeMap::new();
        while frontier.size() < end {
            let left = usize::try_from(end - frontier.size()).unwrap_or(BATCH).min(BATCH);
            let batch = books.records(Position(frontier.size()), left)?;
            if batch.is_empty() {
                break;
            }
            for (_, record) in batch {
                frontier.append(&record);
                if waiting.contains_key(&frontier.size()) {
                    roots.insert(frontier.size(), frontier.root());
                }
            }
        }
        for (&size, &root) in waiting.iter().filter(|(size, root)| roots.get(size) != Some(root)) {
            self.tell(books, &Checkpoint { origin: String::new(), size, root });
        }
        self.seen().know(roots);
        Ok(())
    }

    fn tell(&self, books: &Books, checkpoint: &Checkpoint) {
        let unreached = Unreached::by(checkpoint);
        let mut seen = self.seen();
        if seen.last.as_ref().is_some_and(|last| last.size >= unreached.size) {
            return;
        }
        books.alarms().raise(SET_BACK, unreached.words());
        (seen.last, seen.is_kept) = (Some(unreached), false);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Remembers roots, forgetting all others where they would be too many.
    fn know(&mut self, roots: BTreeMap<u64, Hash>) {
        if self.roots.len() + roots.len() > ROOTS_MAX {
            self.roots.clear();
        }
        self.roots.extend(roots);
    }
}

/// A checkpoint of this log, signed by this collector.
fn verified(books: &Books, note: &str) -> Option<Checkpoint> {
    let reseller = books.read(|fold| fold.founded().map(|founded| founded.reseller.clone()))?;
    Checkpoint::verify(note, &origin(&reseller), &books.keys().service().verifying_key()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_that_are_remembered_are_bounded_and_the_newest_are_among_them() {
        let mut seen = Seen::default();
        let half = ROOTS_MAX as u64 / 2;
        for (first, count, expected) in
            [(0, half, half), (half, half, 2 * half), (2 * half, 1, 1), (3 * half, half, half + 1)]
        {
            seen.know((first..first + count).map(|size| (size, [7; 32])).collect());
            assert_eq!(seen.roots.len() as u64, expected);
            assert!(seen.roots.contains_key(&first));
        }
    }
}
