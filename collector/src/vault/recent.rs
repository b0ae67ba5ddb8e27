//! What was written lately. Invariant: whoever asks with what they were told last is told of everything since, or that
//! they have to look at all.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// What is remembered: more at once comes with a roll-out, and then all are looked at.
const KEPT_MAX: usize = 1024;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Recent<T>(Mutex<Kept<T>>);

#[derive(Debug)]
struct Kept<T> {
    /// Written since the start, and one: 0 stands for nothing known.
    count: u64,
    newest: VecDeque<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::new(Kept { count: 1, newest: VecDeque::new() }))
    }
}

impl<T: Clone> Recent<T> {
    /// Notes what was written.
    pub(super) fn note(&self, written: impl IntoIterator<Item = T>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in written {
            kept.count += 1;
            kept.newest.push_back(one);
            if kept.newest.len() > KEPT_MAX {
                kept.newest.pop_front();
            }
        }
    }

    /// Where it is now, and what was written since an earlier place; none: too much.
    pub(super) fn since(&self, known: u64) -> (u64, Option<Vec<T>>) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = usize::try_from(kept.count.saturating_sub(known)).unwrap_or(usize::MAX);
        let is_there = known > 0 && missed <= kept.newest.len();
        (kept.count, is_there.then(|| kept.newest.iter().rev().take(missed).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_since_is_told_or_that_there_was_too_much() {
        let recent = Recent::default();
        assert_eq!(recent.since(0), (1, None));
        assert_eq!(recent.since(1), (1, Some(Vec::new())));
        recent.note([1, 2]);
        assert_eq!(recent.since(1), (3, Some(vec![2, 1])));
        assert_eq!(recent.since(2), (3, Some(vec![2])));
        recent.note(0..KEPT_MAX);
        assert_eq!(recent.since(2).1, None);
        assert_eq!(recent.since(3).1.map(|written| written.len()), Some(KEPT_MAX));
    }
}
