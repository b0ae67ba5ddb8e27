//! The open streams, one a machine. Invariant: of two streams of a machine the newer one lives: the older is most
//! often a connection that broke without anyone noticing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seatbeat_proto::ids::MachineId;
use tokio::sync::{Notify, oneshot};
use tonic::Status;

use super::retry;

/// Why a stream is ended from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A newer stream of the machine was opened.
    Superseded,
    /// The machine was banned.
    Banned,
    /// The collector ends; the machine is to come back after so long.
    Closing(Duration),
}

impl Ending {
    /// What the agent is told.
    pub fn status(self) -> Status {
        match self {
            Self::Superseded => Status::aborted(
                "another connection of this machine took over: if this repeats, two machines hold one key (a clone?)",
            ),
            Self::Banned => Status::permission_denied("this machine is banned"),
            Self::Closing(after) => retry::at(Status::unavailable("the collector is shutting down"), after),
        }
    }
}

/// Who has an open stream.
#[derive(Default)]
pub struct Streams(Mutex<Places>);

#[derive(Default)]
struct Places {
    open: HashMap<MachineId, Open>,
    opened: u64,
    closing: bool,
}

struct Open {
    number: u64,
    end: oneshot::Sender<Ending>,
    wake: Arc<Notify>,
}

/// A stream's place among the open ones, given back when dropped.
pub struct Place {
    streams: Arc<Streams>,
    machine: MachineId,
    number: u64,
    ending: oneshot::Receiver<Ending>,
    woken: Arc<Notify>,
}

impl Streams {
    /// Opens a stream of a machine and ends the one it had.
    pub fn open(self: &Arc<Self>, machine: &MachineId) -> Place {
        let (end, ending) = oneshot::channel();
        let woken = Arc::new(Notify::new());
        let mut places = self.places();
        places.opened += 1;
        let number = places.opened;
        if places.closing {
            let _ = end.send(Ending::Closing(Duration::ZERO));
        } else {
            let open = Open { number, end, wake: Arc::clone(&woken) };
            if let Some(older) = places.open.insert(machine.clone(), open) {
                let _ = older.end.send(Ending::Superseded);
            }
        }
        Place { streams: Arc::clone(self), machine: machine.clone(), number, ending, woken }
    }

    /// The machines that have an open stream.
    pub fn machines(&self) -> Vec<MachineId> {
        self.places().open.keys().cloned().collect()
    }

    /// Has the stream of a machine, when it has one, look whether something is due.
    pub fn wake(&self, machine: &MachineId) {
        if let Some(open) = self.places().open.get(machine) {
            open.wake.notify_one();
        }
    }

    /// Has all streams look whether something is due.
    pub fn wake_all(&self) {
        self.places().open.values().for_each(|open| open.wake.notify_one());
    }

    /// Ends the stream of a machine, when it has one.
    pub fn end(&self, machine: &MachineId, why: Ending) {
        if let Some(open) = self.places().open.remove(machine) {
            let _ = open.end.send(why);
        }
    }

    /// Ends all streams, and those that are opened from now on. Each machine is told its turn to come back.
    pub fn close(&self) {
        let mut places = self.places();
        places.closing = true;
        for (number, (_, open)) in places.open.drain().enumerate() {
            let _ = open.end.send(Ending::Closing(retry::turn(number)));
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until the stream is to end.
    pub async fn ended(&mut self) -> Ending {
        // The other half is only ever dropped by the stream that takes the place.
        (&mut self.ending).await.unwrap_or(Ending::Superseded)
    }

    /// What tells that something may be due; also when that was so before it was asked.
    pub fn woken(&self) -> Arc<Notify> {
        Arc::clone(&self.woken)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.streams.places();
        if places.open.get(&self.machine).is_some_and(|open| open.number == self.number) {
            places.open.remove(&self.machine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newer_stream_of_a_machine_lives() {
        let (streams, machine) = (Arc::new(Streams::default()), MachineId::random());
        let mut older = streams.open(&machine);
        let mut newer = streams.open(&machine);
        assert_eq!(older.ended().await, Ending::Superseded);
        drop(older);
        streams.end(&machine, Ending::Banned);
        assert_eq!(newer.ended().await, Ending::Banned, "the older one did not take the newer's place along");
    }

    #[tokio::test]
    async fn a_door_that_closes_ends_all_and_lets_nobody_stay() {
        let streams = Arc::new(Streams::default());
        let mut before = streams.open(&MachineId::random());
        streams.close();
        let mut after = streams.open(&MachineId::random());
        let at_once = Ending::Closing(Duration::ZERO);
        assert_eq!((before.ended().await, after.ended().await), (at_once, at_once));
    }
}
