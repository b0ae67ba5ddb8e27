//! Whether the collector does its work now. Invariant: what is asked for is proven, not assumed: a write has come by
//! the writer, and the fold has been asked; no reason names a file, a customer or a machine.

use std::path::Path;
use std::time::Duration;

use seatbeat_ledger::fold::Fold;
use serde::Serialize;
use tokio::time::timeout;

use crate::books::Books;
use crate::gateway::door::{CLOCK, JOURNAL};

/// How long the writer may take to come by: far longer than a group commit on a slow disk, far shorter than a watchdog.
const PASS_WAIT: Duration = Duration::from_secs(5);

/// Records that the fold may be behind the journal: it runs within each commit, so that a whole batch is much.
const BEHIND_RECORDS_MAX: u64 = 4096;

/// Free space below which no report is promised a place: a batch of the journal.
pub const FREE_BYTES_MIN: u64 = crate::journal::BATCH_BYTES_MAX as u64;

/// A part of the collector that does not do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unready {
    /// Which part.
    pub part: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// Waits until the writer and the fold have moved.
///
/// # Errors
/// When one of them stands still, or takes nothing any more.
pub async fn moves(books: &Books) -> Result<(), Unready> {
    let unready = |part, why: &str| Unready { part, why: why.to_owned() };
    match timeout(PASS_WAIT, books.pass_writer()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err(unready("journal", "it takes no records any more")),
        Err(_) => return Err(unready("journal", "nothing was written for some seconds")),
    }
    let reader = books.clone();
    let durable = books.durable().0;
    // On a thread of its own: a fold that somebody holds must not hold up whoever looks for that.
    let folded = tokio::task::spawn_blocking(move || reader.read(Fold::position));
    match timeout(PASS_WAIT, folded).await {
        Ok(Ok(folded)) if durable.saturating_sub(folded) <= BEHIND_RECORDS_MAX => Ok(()),
        Ok(Ok(_)) => Err(unready("fold", "it is behind the journal")),
        _ => Err(unready("fold", "it did not answer for some seconds")),
    }
}

/// All that keeps the collector from taking and answering now; empty: it is ready.
pub async fn unready(books: &Books) -> Vec<Unready> {
    let mut all: Vec<Unready> = moves(books).await.err().into_iter().collect();
    let mut note = |part, why: &str| all.push(Unready { part, why: why.to_owned() });
    if books.alarms().stands(JOURNAL) {
        note("journal", "it took no records when it was last asked to");
    }
    if books.alarms().stands(CLOCK) {
        note("clock", "the agents contradict it: nothing is acknowledged");
    }
    if free_bytes(books.folder()).is_some_and(|free| free < FREE_BYTES_MIN) {
        note("disk", "it is full, or about to be");
    }
    all
}

/// Bytes that are free on the disk of a folder; none when the system does not say.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
