//! Keeps the search rows up to date: each commit brings its places, and what is missing is read from the journal.
//! Invariant: places come in journal order, after the records are durable; a lookup that fails raises an alarm and is
//! tried again, counts go on without it.

use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TryRecvError, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use seatbeat_ledger::fold::Reading;

use crate::books::Alarms;
use crate::journal::{FileReader, JournalError, Position};
use crate::lookup::{Brought, Lookup, LookupError, Place};

/// Records read at once.
const BATCH: usize = 4096;

/// How long it is until what failed is tried again: a disk that was full is not free again in less.
const AGAIN: Duration = Duration::from_secs(1);

/// Name of the alarm while the rows are not kept up to date.
const BEHIND: &str = "lookup";

/// The running follower.
pub struct Follower {
    feed: Feed,
    thread: JoinHandle<()>,
}

/// Where commits bring their places.
#[derive(Clone)]
pub struct Feed {
    lookup: Arc<Lookup>,
    wake: SyncSender<()>,
}

impl Feed {
    /// Brings the places among the records that were just committed; what is too much or too early the follower reads
    /// from the journal.
    pub fn bring(&self, first: Position, readings: &[Reading]) {
        if bring(&self.lookup, first, readings) != Brought::Kept {
            match self.wake.try_send(()) {
                Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }
}

/// Starts to follow, once rows that are not checked yet are.
pub fn start(reader: FileReader, lookup: Arc<Lookup>, alarms: Alarms) -> Follower {
    let (wake, woken) = mpsc::sync_channel(1);
    let feed = Feed { lookup: Arc::clone(&lookup), wake };
    let run = move || {
        loop {
            let followed = follow(&reader, &lookup);
            let ended = match followed {
                Ok(()) => {
                    alarms.clear(BEHIND);
                    woken.recv().is_err()
                }
                Err(error) => {
                    alarms.raise(BEHIND, format!("search rows are not kept up to date: {error}"));
                    std::thread::sleep(AGAIN);
                    woken.try_recv() == Err(TryRecvError::Disconnected)
                }
            };
            if ended {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("lookup".to_owned()).spawn(run);
    Follower { feed, thread: thread.expect("the operating system gives a thread") }
}

impl Follower {
    /// Where commits bring their places.
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Stops it. The writer, and with it its feed, has to have ended.
    pub fn stop(self) {
        let Self { feed, thread } = self;
        drop(feed);
        if thread.join().is_err() {
            tracing::error!("the lookup follower ended with a panic");
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

/// Reads what is missing and writes what is full; when it returns, the next commit can bring its places itself.
fn follow(reader: &FileReader, lookup: &Lookup) -> Result<(), FollowError> {
    lookup.check(reader.size())?;
    loop {
        lookup.write_full_runs()?;
        let batch = reader.read_from(lookup.reflected(), BATCH)?;
        let Some((first, _)) = batch.first() else { return Ok(()) };
        let readings: Vec<Reading> = batch.iter().map(|(_, record)| Reading::of(record)).collect();
        bring(lookup, *first, &readings);
    }
}

fn bring(lookup: &Lookup, first: Position, readings: &[Reading]) -> Brought {
    let place = |(offset, reading): (usize, &Reading)| {
        let evidence = reading.evidence()?;
        let position = first.plus(offset as u64);
        Some(Place::new(&evidence.machine, evidence.sequence, evidence.observed_at, position))
    };
    let places = readings.iter().enumerate().filter_map(place);
    lookup.bring(first, first.plus(readings.len() as u64), places)
}
