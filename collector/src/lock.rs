//! Locks that one process holds at a time. Invariant: one is refused only where it stays held. A program that is just
//! being started holds a copy of every lock of its parent until it runs, though the parent let go of it.

use std::fs::File;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Locks a file or folder for this process.
///
/// # Errors
/// [`Errno::WOULDBLOCK`] when another process holds it for longer than a second; others when the system fails.
pub fn lock(file: &File) -> Result<(), Errno> {
    patiently(|| flock(file, FlockOperation::NonBlockingLockExclusive), |errno| *errno == Errno::WOULDBLOCK)
}

/// Tries for a second, as long as another holds what is wanted.
pub fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_held: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error) if is_held(&error) => thread::sleep(PAUSE),
            done => return done,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{FileJournal, JournalError};
    use crate::rows::{Rows, RowsError};
    use crate::store::{Store, StoreError};

    /// Holds a lock a while longer, as a program does that is being started.
    fn held_for_a_moment(path: &std::path::Path) {
        let file = File::open(path).unwrap();
        lock(&file).unwrap();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(file);
        });
    }

    #[test]
    fn what_is_about_to_be_free_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for _ in 0..2 {
            drop(Rows::open(&at("rows"), false).unwrap());
            held_for_a_moment(&at("rows/sled/db"));
            drop(Store::open(&at("store")).unwrap());
            held_for_a_moment(&at("store/lock"));
            drop(FileJournal::open(&at("journal")).unwrap());
            held_for_a_moment(&at("journal"));
        }
    }

    #[test]
    fn what_stays_held_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let _rows = Rows::open(&at("rows"), false).unwrap();
        assert!(matches!(Rows::open(&at("rows"), false), Err(RowsError::InUse { .. })));
        let _store = Store::open(&at("store")).unwrap();
        assert!(matches!(Store::open(&at("store")), Err(StoreError::InUse { .. })));
        let _journal = FileJournal::open(&at("journal")).unwrap();
        assert!(matches!(FileJournal::open(&at("journal")), Err(JournalError::InUse { .. })));
    }
}
