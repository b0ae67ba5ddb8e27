//! Follows the journal and keeps the lookup rows up to date. Invariant: rows are written in journal order, after the
//! records are durable; a lookup that fails raises an alarm and is tried again, counts go on without it.

use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use prost::Message as _;
use seatbeat_ledger::fold::evidence::Evidence;
use seatbeat_proto::instant;
use seatbeat_proto::wire::JournalRecord;
use seatbeat_proto::wire::journal_record::Fact;

use crate::books::Alarms;
use crate::journal::{FileReader, JournalError, Position};
use crate::lookup::{Lookup, LookupError, LookupRow};

/// Records taken at once: the largest batch that the lookup takes.
const BATCH: usize = 512;

/// Rest between two rounds: rows written a commit at a time cost a busy collector a third of its CPU, and nobody who
/// asks for them minds a moment.
const REST: Duration = Duration::from_millis(100);

/// Name of the alarm while the rows are not kept up to date.
const BEHIND: &str = "lookup";

/// The running follower.
pub struct Follower {
    wake: Option<SyncSender<()>>,
    thread: JoinHandle<()>,
}

/// Wakes the follower.
#[derive(Clone)]
pub struct Notify(SyncSender<()>);

impl Notify {
    /// Says that there is something new in the journal.
    pub fn wake(&self) {
        match self.0.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// Starts to follow from a position; without one, the rows are checked first, and followed from where they end.
pub fn start(reader: FileReader, lookup: Arc<Lookup>, from: Option<Position>, alarms: Alarms) -> Follower {
    let (wake, woken) = mpsc::sync_channel(1);
    let run = move || {
        let mut reached = from;
        loop {
            let followed = match reached {
                Some(position) => Ok(position),
                None => lookup.check(reader.size()).map_err(FollowError::from),
            };
            let followed = followed.and_then(|mut position| {
                let caught_up = catch_up(&reader, &lookup, &mut position);
                reached = Some(position);
                caught_up
            });
            match followed {
                Ok(()) => alarms.clear(BEHIND),
                Err(error) => alarms.raise(BEHIND, format!("search rows are not kept up to date: {error}")),
            }
            std::thread::sleep(REST);
            if woken.recv().is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("lookup".to_owned()).spawn(run);
    Follower { wake: Some(wake), thread: thread.expect("the operating system gives a thread") }
}

impl Follower {
    /// What wakes it.
    pub fn notify(&self) -> Notify {
        Notify(self.wake.clone().expect("a follower that runs can be woken"))
    }

    /// Stops it once the journal is followed to its end.
    pub fn stop(mut self) {
        self.wake = None;
        if self.thread.join().is_err() {
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

fn catch_up(reader: &FileReader, lookup: &Lookup, position: &mut Position) -> Result<(), FollowError> {
    loop {
        let batch = reader.read_from(*position, BATCH)?;
        let Some((last, _)) = batch.last() else { return Ok(()) };
        let next = Position(last.0 + 1);
        let rows: Vec<LookupRow> = batch.iter().filter_map(|(at, record)| row(*at, record)).collect();
        lookup.apply(next, &rows)?;
        *position = next;
    }
}

fn row(position: Position, record: &[u8]) -> Option<LookupRow> {
    let record = JournalRecord::decode(record).ok()?;
    let Some(Fact::EvidenceReceived(received)) = record.fact else { return None };
    let received_at = instant::from_ms(record.recorded_at_ms).ok()?;
    let evidence = Evidence::parse(&received.evidence?.payload, received_at).ok()?;
    Some(LookupRow {
        machine: evidence.machine,
        spool: evidence.spool,
        sequence: evidence.sequence,
        hash: evidence.hash,
        observed_at: evidence.observed_at,
        position,
        forked: received.forked,
    })
}
