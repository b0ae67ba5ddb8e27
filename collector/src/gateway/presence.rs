//! Which machines are there, as far as their beats tell. Invariant: nothing of it is written or billed; after a
//! restart it fills again within a beat.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use seatbeat_proto::ids::MachineId;

use super::clocks::is_ahead;
use super::meters::Meters;

/// The machines seen since the start; clones show the same.
#[derive(Clone, Default)]
pub struct Presence(Arc<Inner>);

#[derive(Default)]
struct Inner {
    machines: Mutex<Machines>,
    beats: AtomicU64,
    evidence: AtomicU64,
    meters: Meters,
}

/// As many as were ever let in, at most: strangers are not noted.
#[derive(Default)]
struct Machines {
    seen: BTreeMap<MachineId, Arc<Mutex<Seen>>>,
    connected: usize,
    standing_by: usize,
}

/// A machine as it was seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Open streams, and connections on standby; two for the moment in which a newer one takes over.
    pub streams: u32,
    /// When its last message came, by the collector's clock.
    pub last_beat: Timestamp,
    /// How far its clock is ahead of the collector's, in milliseconds.
    pub clock_offset_ms: i64,
    /// Evidence that it says is not yet acknowledged.
    pub waiting: u32,
}

/// The clocks of connected machines beside the collector's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClocksSeen {
    /// Machines that are further ahead than [`AHEAD_MAX`](super::clocks::AHEAD_MAX).
    pub ahead: usize,
    /// Machines that are as far behind.
    pub behind: usize,
    /// By how many milliseconds each is ahead, the smallest first.
    offsets_ms: Vec<i64>,
}

impl ClocksSeen {
    /// By how many milliseconds half of them are ahead at least; none where nobody is connected.
    pub fn median_ms(&self) -> Option<i64> {
        self.offsets_ms.get(self.offsets_ms.len() / 2).copied()
    }
}

impl Presence {
    /// Whether the machine has an open stream, or stands by.
    pub fn connected(&self, machine: &MachineId) -> bool {
        self.seen(machine).is_some_and(|seen| seen.streams > 0)
    }

    /// The machine as it was seen last; none when it was not since the start.
    pub fn seen(&self, machine: &MachineId) -> Option<Seen> {
        let machines = self.machines();
        machines.seen.get(machine).map(|seen| *lock(seen))
    }

    /// How many machines have an open stream, or stand by.
    pub fn connected_count(&self) -> usize {
        self.machines().connected
    }

    /// How many connections on standby there are.
    pub fn standing_by_count(&self) -> usize {
        self.machines().standing_by
    }

    /// Messages of agents since the start: each one is a beat.
    pub fn beats(&self) -> u64 {
        self.0.beats.load(Ordering::Relaxed)
    }

    /// Evidence made durable since the start.
    pub fn evidence(&self) -> u64 {
        self.0.evidence.load(Ordering::Relaxed)
    }

    /// What the agent door counts and times.
    pub fn meters(&self) -> &Meters {
        &self.0.meters
    }

    /// How the clocks of the machines stand that have an open stream.
    pub fn clocks(&self) -> ClocksSeen {
        let machines = self.machines();
        let mut clocks = ClocksSeen::default();
        for seen in machines.seen.values().map(|seen| *lock(seen)).filter(|seen| seen.streams > 0) {
            clocks.ahead += usize::from(is_ahead(seen.clock_offset_ms));
            clocks.behind += usize::from(is_ahead(seen.clock_offset_ms.saturating_neg()));
            clocks.offsets_ms.push(seen.clock_offset_ms);
        }
        clocks.offsets_ms.sort_unstable();
        clocks
    }

    /// Notes an open stream or a connection on standby, until what this returns is dropped.
    pub(super) fn open(&self, machine: &MachineId, clock_offset_ms: i64, now: Timestamp, stay: Stay) -> Open {
        let mut machines = self.machines();
        let new = Seen { streams: 0, last_beat: now, clock_offset_ms, waiting: 0 };
        let seen =
            Arc::clone(machines.seen.entry(machine.clone()).or_insert_with(|| Arc::new(Mutex::new(new))));
        let streams = {
            let mut seen = lock(&seen);
            *seen = Seen { streams: seen.streams + 1, last_beat: now, clock_offset_ms, ..*seen };
            seen.streams
        };
        if streams == 1 {
            machines.connected += 1;
        }
        machines.standing_by += usize::from(stay == Stay::StandingBy);
        drop(machines);
        self.0.beats.fetch_add(1, Ordering::Relaxed);
        Open { presence: self.clone(), seen, stay }
    }

    fn machines(&self) -> MutexGuard<'_, Machines> {
        lock(&self.0.machines)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a machine is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    InStream,
    StandingBy,
}

/// An open stream of a machine, or its connection on standby.
pub(super) struct Open {
    presence: Presence,
    stay: Stay,
    /// Held here, so that a beat looks nothing up and waits for no other machine's.
    seen: Arc<Mutex<Seen>>,
}

impl Open {
    /// Notes that a message came.
    pub fn message(&self, now: Timestamp) {
        self.update(|seen| seen.last_beat = now);
    }

    /// Notes what a beat says.
    pub fn beat(&self, clock_offset_ms: i64, waiting: u32, now: Timestamp) {
        self.update(|seen| *seen = Seen { last_beat: now, clock_offset_ms, waiting, ..*seen });
    }

    /// What the agent door counts and times.
    pub fn meters(&self) -> &Meters {
        self.presence.meters()
    }

    /// Counts evidence that became durable.
    pub fn evidence(&self, count: usize) {
        self.presence.0.evidence.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn update(&self, change: impl FnOnce(&mut Seen)) {
        self.presence.0.beats.fetch_add(1, Ordering::Relaxed);
        change(&mut lock(&self.seen));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut machines = self.presence.machines();
        machines.standing_by -= usize::from(self.stay == Stay::StandingBy);
        let mut seen = lock(&self.seen);
        seen.streams -= 1;
        if seen.streams == 0 {
            machines.connected -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_machine_is_connected_as_long_as_one_stream_is_open() {
        let (presence, machine) = (Presence::default(), MachineId::random());
        assert!(!presence.connected(&machine));
        let older = presence.open(&machine, 0, at(1), Stay::InStream);
        let newer = presence.open(&machine, 0, at(2), Stay::InStream);
        assert_eq!(presence.connected_count(), 1);
        drop(older);
        assert!(presence.connected(&machine));
        drop(newer);
        assert!(!presence.connected(&machine));
        assert_eq!(presence.connected_count(), 0);
        assert_eq!(presence.seen(&machine).unwrap().last_beat, at(2), "it is still known when it was here");
    }

    #[test]
    fn any_message_is_a_beat_and_a_beat_tells_more() {
        let (presence, machine) = (Presence::default(), MachineId::random());
        let open = presence.open(&machine, -5, at(1), Stay::InStream);
        open.beat(700, 3, at(2));
        assert_eq!(presence.seen(&machine).unwrap().last_beat, at(2));
        open.message(at(3));
        open.evidence(2);
        let expected = Seen { streams: 1, last_beat: at(3), clock_offset_ms: 700, waiting: 3 };
        assert_eq!(presence.seen(&machine), Some(expected));
        assert_eq!((presence.beats(), presence.evidence()), (3, 2));
    }

    #[test]
    fn only_clocks_of_machines_that_are_there_are_compared() {
        let presence = Presence::default();
        assert_eq!(presence.clocks().median_ms(), None);
        let hour = 3_600_000;
        let open: Vec<Open> = [-2 * hour, -hour, 5, 6, hour]
            .map(|offset| presence.open(&MachineId::random(), offset, at(1), Stay::InStream))
            .into();
        drop(presence.open(&MachineId::random(), hour, at(1), Stay::InStream));
        let clocks = presence.clocks();
        assert_eq!((clocks.ahead, clocks.behind, clocks.median_ms()), (1, 2, Some(5)));
        drop(open);
        assert_eq!(presence.clocks(), ClocksSeen::default());
    }

    #[test]
    fn a_machine_that_was_never_here_is_not_known() {
        let presence = Presence::default();
        drop(presence.open(&MachineId::random(), 0, at(1), Stay::InStream));
        assert_eq!(presence.seen(&MachineId::random()), None);
    }
}
