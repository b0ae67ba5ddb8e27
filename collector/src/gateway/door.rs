//! What all streams of the door share. Invariant: what is kept here is lost with the process without harm: limits,
//! the agents' clocks, who is connected.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seatbeat_proto::ids::MachineId;
use seatbeat_proto::wire::Signed;
use seatbeat_proto::wire::journal_record::Fact;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tonic::Status;

use super::catalogue::Catalogues;
use super::clocks::Clocks;
use super::host_names::HostNames;
use super::limits::{
    ADDRESSES_MAX, Buckets, CALL_PAUSE, ENROL_RATE, EVIDENCE_BYTES_MAX, EVIDENCE_RATE, MACHINES_MAX,
    Patience, ROOM_TIMEOUT, address_key, is_own,
};
use super::presence::Presence;
use super::retry;
use super::streams::Streams;
use super::turns::Turns;
use super::witness::Witness;
use crate::books::{Books, WriteError};
use crate::journal::AppendError;

/// Alarm of a journal that takes nothing.
pub(crate) const JOURNAL: &str = "journal";
/// Alarm of a clock that the agents contradict.
pub(crate) const CLOCK: &str = "clock";

/// How old a checkpoint may be that is handed out: signing one for each of a thousand agents that come back at once
/// would tell them nothing more.
const CHECKPOINT_AGE: Duration = Duration::from_secs(10);

/// Forks remembered, so that an agent that sends one again does not have it written again: 320 KiB.
const FORKS_MAX: usize = 10_000;

/// The agent door, as its streams see it.
pub struct Door {
    pub books: Books,
    pub presence: Presence,
    pub settings: watch::Receiver<Signed>,
    pub catalogues: Catalogues,
    /// Of machines that are called from standby.
    pub calls: Turns,
    pub streams: Arc<Streams>,
    pub patience: Patience,
    pub witness: Witness,
    pub host_names: HostNames,
    clocks: Mutex<Clocks>,
    clock_is_suspect: AtomicBool,
    journal_failed: AtomicBool,
    evidence: Mutex<Buckets<MachineId>>,
    enrolments: Mutex<Buckets<IpAddr>>,
    forks: Mutex<HashSet<[u8; 32]>>,
    checkpoint: Mutex<Option<(Instant, String)>>,
    room: Arc<Semaphore>,
    opened: Instant,
}

impl Door {
    /// An open door.
    pub fn new(
        books: Books,
        presence: Presence,
        settings: watch::Receiver<Signed>,
        patience: Patience,
    ) -> Self {
        Self {
            catalogues: Catalogues::new(&books),
            calls: Turns::each(CALL_PAUSE),
            witness: Witness::of(&books),
            host_names: HostNames::default(),
            books,
            presence,
            settings,
            streams: Arc::default(),
            patience,
            clocks: Mutex::default(),
            clock_is_suspect: AtomicBool::new(false),
            journal_failed: AtomicBool::new(false),
            evidence: Mutex::new(Buckets::new(EVIDENCE_RATE, MACHINES_MAX)),
            enrolments: Mutex::new(Buckets::new(ENROL_RATE, ADDRESSES_MAX)),
            forks: Mutex::default(),
            checkpoint: Mutex::default(),
            room: Arc::new(Semaphore::new(EVIDENCE_BYTES_MAX)),
            opened: Instant::now(),
        }
    }

    /// Writes facts of a machine; they are durable and folded when it returns.
    ///
    /// # Errors
    /// What the agent is told when the journal does not take them.
    pub async fn write(&self, machine: &MachineId, facts: Vec<Fact>) -> Result<(), Status> {
        match self.books.write_all(machine.as_str(), "", facts).await {
            Ok(_) => {
                if self.journal_failed.swap(false, Ordering::Relaxed) {
                    self.books.alarms().clear(JOURNAL);
                }
                Ok(())
            }
            Err(error) => {
                let (alarm, status) = not_written(&error);
                if let Some(words) = alarm {
                    self.journal_failed.store(true, Ordering::Relaxed);
                    self.books.alarms().raise(JOURNAL, words);
                }
                Err(status)
            }
        }
    }

    /// Room for evidence on its way to the journal.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
        let bytes = bytes.min(EVIDENCE_BYTES_MAX) as u32;
        let room = timeout(ROOM_TIMEOUT, Arc::clone(&self.room).acquire_many_owned(bytes)).await;
        room.ok().and_then(Result::ok).ok_or_else(|| {
            let busy = "the collector is busy: nothing of this was taken, come again";
            retry::later(Status::resource_exhausted(busy), retry::BUSY)
        })
    }

    /// Notes by how much an agent's clock is ahead of this collector's.
    pub fn note_clock(&self, machine: &MachineId, offset_ms: i64) {
        let mut clocks = lock(&self.clocks);
        clocks.note(machine, offset_ms, self.opened.elapsed());
        self.judge(&clocks);
    }

    /// Forgets clocks that were not seen lately; called now and then.
    pub fn forget_clocks(&self) {
        let mut clocks = lock(&self.clocks);
        clocks.forget(self.opened.elapsed());
        self.judge(&clocks);
    }

    /// What an agent is told while this collector's clock is not to be trusted: with a wrong instant of receipt
    /// evidence would be judged wrongly for good.
    pub fn clock_fault(&self) -> Option<Status> {
        let suspect = self.clock_is_suspect.load(Ordering::Relaxed);
        suspect.then(|| {
            Status::unavailable("the collector's clock is behind the agents': it acknowledges nothing")
        })
    }

    fn judge(&self, clocks: &Clocks) {
        let verdict = clocks.suspect();
        if self.clock_is_suspect.swap(verdict.is_some(), Ordering::Relaxed) == verdict.is_some() {
            return;
        }
        match verdict {
            Some((ahead, seen)) => self.books.alarms().raise(
                CLOCK,
                format!(
                    "this collector's clock is suspect: {ahead} of {seen} agents are more than 10 minutes ahead; \
                     nothing is acknowledged until they agree"
                ),
            ),
            None => self.books.alarms().clear(CLOCK),
        }
    }

    /// Whether the machine may send one more piece of evidence.
    pub fn may_send(&self, machine: &MachineId) -> bool {
        lock(&self.evidence).take(machine.clone(), self.opened.elapsed())
    }

    /// Whether one more enrolment may be tried from the address.
    pub fn may_enrol(&self, address: IpAddr) -> bool {
        is_own(address) || lock(&self.enrolments).take(address_key(address), self.opened.elapsed())
    }

    /// Whether this fork was written since the start.
    pub fn knows_fork(&self, hash: &[u8; 32]) -> bool {
        lock(&self.forks).contains(hash)
    }

    /// Remembers a fork that is durable.
    pub fn remember_fork(&self, hash: [u8; 32]) {
        let mut forks = lock(&self.forks);
        if forks.len() >= FORKS_MAX {
            forks.clear();
        }
        forks.insert(hash);
    }

    /// A signed checkpoint of the log, some seconds old at most.
    pub fn checkpoint(&self) -> String {
        let mut kept = lock(&self.checkpoint);
        match &*kept {
            Some((made_at, checkpoint)) if made_at.elapsed() < CHECKPOINT_AGE => checkpoint.clone(),
            _ => {
                let checkpoint = self.books.checkpoint();
                *kept = Some((Instant::now(), checkpoint.clone()));
                checkpoint
            }
        }
    }
}

/// The alarm and the agent's words for records that were not written.
fn not_written(error: &WriteError) -> (Option<String>, Status) {
    let WriteError::Append(error) = error;
    let (words, status) = match error {
        AppendError::Full(_) => {
            let status =
                Status::resource_exhausted("the collector's disk is full: nothing of this was taken");
            (Some(format!("nothing is acknowledged: {error}")), status)
        }
        AppendError::Away(_) => {
            let status =
                Status::unavailable("the collector's journal cannot be reached: nothing of this was taken");
            (Some(format!("nothing is acknowledged: {error}")), status)
        }
        AppendError::Unknown(_) => {
            let status =
                Status::unavailable("the collector's journal went away in the middle: send this again");
            (Some(format!("nothing is acknowledged: {error}")), status)
        }
        AppendError::Fatal(_) => {
            let status = Status::unavailable("the collector's journal has failed: nothing of this was taken");
            (Some(format!("nothing is acknowledged: {error}")), status)
        }
        AppendError::Closed | AppendError::NotLeading => {
            (None, Status::unavailable("the collector is shutting down"))
        }
        AppendError::TooLarge { .. } => (None, Status::invalid_argument(error.to_string())),
    };
    // What passes by itself or by an operator's hand takes a while.
    let status = if words.is_some() { retry::later(status, retry::JOURNAL_AWAY) } else { status };
    (words, status)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_journal_that_takes_nothing_is_an_alarm_and_never_an_acknowledgement() {
        let check = |error: AppendError, code: Code, alarm: bool| {
            let (words, status) = not_written(&WriteError::Append(error));
            assert_eq!((status.code(), words.is_some()), (code, alarm), "{status}");
        };
        check(AppendError::Full("no space left on device".into()), Code::ResourceExhausted, true);
        check(AppendError::Away("connection refused".into()), Code::Unavailable, true);
        check(AppendError::Unknown("no answer in 20 s".into()), Code::Unavailable, true);
        check(AppendError::Fatal("fdatasync failed".into()), Code::Unavailable, true);
        check(AppendError::Closed, Code::Unavailable, false);
        check(AppendError::TooLarge { bytes: 2, limit: 1 }, Code::InvalidArgument, false);
    }
}
