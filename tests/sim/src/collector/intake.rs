//! Evidence on its way into a collector: it waits, is decided about in groups, written, acknowledged. Invariant: decided
//! and planned by the product; here is only what its intake does in between.

use std::collections::VecDeque;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_agent::session::WINDOW;
use seatbeat_collector::gateway::decide;
use seatbeat_collector::gateway::limits::GROUP_RECORDS_MAX;
use seatbeat_collector::gateway::plan::{Plan, folded_tip, observed_at_ms};
use seatbeat_collector::journal::{Journal as _, Position};
use seatbeat_ledger::fold::evidence::Evidence;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::wire::collector_message::Body;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{JournalRecord, Signed};
use tonic::Status;

use super::{Collector, Down, NotWritten, Running, instant, since};
use crate::keys::Public;
use crate::wrong::Wrong;

/// What a connection is to a collector.
pub struct Talk {
    pub machine: MachineId,
    pub key: Public,
    pub pending: VecDeque<Signed>,
}

impl Collector {
    /// Evidence came over a connection and waits for its turn; how much of it waits there now.
    pub fn evidence(&mut self, connection: u64, signed: Signed) -> usize {
        let Some(running) = &mut self.running else { return 0 };
        let Some(talk) = running.talks.get_mut(&connection) else { return 0 };
        if talk.pending.is_empty() {
            running.turn.push_back(connection);
        }
        talk.pending.push_back(signed);
        talk.pending.len()
    }

    /// What waits here and what is kept to look things up: its name, how much there is, and its bound.
    pub fn queues(&self) -> Vec<(&'static str, usize, usize)> {
        let Some(running) = &self.running else { return Vec::new() };
        let waiting = running.talks.values().map(|talk| talk.pending.len()).sum();
        let (machines, records) = (running.fold.registry().machine_count(), running.fold.position() as usize);
        vec![
            ("pieces of evidence that wait", waiting, running.talks.len() * WINDOW as usize),
            ("conversations", running.talks.len(), running.streams.len()),
            ("machines with a connection", running.streams.len(), machines),
            ("lookup rows", running.rows.len(), records),
            ("forks remembered", running.forks.len(), records),
        ]
    }

    /// A connection is gone.
    pub fn gone(&mut self, connection: u64) {
        let Some(running) = &mut self.running else { return };
        if let Some(talk) = running.talks.remove(&connection)
            && running.streams.get(&talk.machine) == Some(&connection)
        {
            running.streams.remove(&talk.machine);
        }
    }

    /// Whether evidence waits.
    pub fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.turn.is_empty())
    }

    /// Takes the next connection's evidence, up to a group; none: the process is over.
    pub fn take_next(&mut self, now_ms: i64) -> Option<Vec<Down>> {
        let running = self.running.as_mut()?;
        let Some(connection) = running.turn.pop_front() else { return Some(Vec::new()) };
        let Some(talk) = running.talks.get_mut(&connection) else { return Some(Vec::new()) };
        let count = talk.pending.len().min(GROUP_RECORDS_MAX);
        let group: Vec<Signed> = talk.pending.drain(..count).collect();
        if !talk.pending.is_empty() {
            running.turn.push_back(connection);
        }
        let (machine, key) = (talk.machine.clone(), talk.key.clone());
        let mut down = Vec::new();
        let mut plan = Plan::default();
        let again = (self.wrong == Some(Wrong::PendingUnbounded)).then(|| group.clone());
        let mut end = None;
        for signed in group {
            if let Err(status) = self.take_one((&machine, &key), signed, &mut plan, &mut down, now_ms)? {
                end = Some(status);
                break;
            }
        }
        if let Err(status) = self.settle(&machine, plan, &mut down, now_ms)? {
            end = Some(status);
        }
        if let (Some(again), Some(_), Some(running)) = (again, &end, &mut self.running)
            && let Some(talk) = running.talks.get_mut(&connection)
        {
            // Kept for later instead of ending the stream, with no bound on how much.
            if talk.pending.is_empty() {
                running.turn.push_back(connection);
            }
            again.into_iter().rev().for_each(|signed| talk.pending.push_front(signed));
            return Some(Vec::new());
        }
        let mut down: Vec<Down> = down.into_iter().map(|body| Down::Say(connection, body)).collect();
        if let Some(status) = end {
            self.gone(connection);
            down.push(Down::End(connection, status));
        }
        Some(down)
    }

    /// As the door's intake does; none: the process is over.
    fn take_one(
        &mut self,
        (machine, key): (&MachineId, &Public),
        signed: Signed,
        plan: &mut Plan,
        down: &mut Vec<Body>,
        now_ms: i64,
    ) -> Option<Result<(), Status>> {
        let (clock, wrong) = (instant(self.clock(now_ms)), self.wrong);
        let running = self.running.as_mut()?;
        if running.clocks.suspect().is_some() {
            return Some(Err(Status::unavailable("the collector's clock is behind the agents'")));
        }
        if !running.buckets.take(machine.clone(), since(running.opened_ms, now_ms)) {
            return Some(Err(Status::resource_exhausted("more evidence than a machine may send")));
        }
        let read = if wrong == Some(Wrong::SignatureNotChecked) {
            Evidence::parse(&signed.payload, clock).map_err(decide::Fault::from)
        } else {
            decide::read(&signed, machine, key, clock)
        };
        let evidence = match read {
            Ok(evidence) => evidence,
            Err(fault) => {
                plan.refuse(&fault, &signed.payload);
                let ends = fault.ends_the_stream();
                return Some(if ends { Err(Status::permission_denied(fault.to_string())) } else { Ok(()) });
            }
        };
        let folded = match folded_tip(&running.fold, machine, &evidence.spool) {
            Ok(tip) => tip,
            Err(_) if wrong == Some(Wrong::BanIgnored) => {
                running.fold.registry().machine(machine).and_then(|m| m.spools.get(&evidence.spool).copied())
            }
            Err(status) => return Some(Err(status)),
        };
        if wrong == Some(Wrong::TipNotChecked)
            && folded.is_some_and(|tip| tip.sequence + 1 != evidence.sequence)
        {
            let ack =
                seatbeat_proto::wire::Ack { spool: evidence.spool.to_string(), sequence: evidence.sequence };
            down.push(Body::Ack(ack));
            return Some(Ok(()));
        }
        let Some(undecided) = plan.take(signed, evidence, folded) else { return Some(Ok(())) };
        if let Err(status) = self.settle(machine, std::mem::take(plan), down, now_ms)? {
            return Some(Err(status));
        }
        let place = &undecided.evidence;
        let known = self.known((machine.clone(), place.spool.clone(), place.sequence));
        if wrong == Some(Wrong::ForkUnflagged) && known.is_some_and(|(_, hash)| hash != place.hash) {
            down.push(Body::Refusal(decide::Reason::Forked.refusal(place)));
            return Some(Ok(()));
        }
        let running = self.running.as_ref()?;
        let on_record = |hash: &[u8; 32]| running.forks.contains(hash);
        let observed = |at: Position| Ok(self.record(at).map_or(0, |bytes| observed_at_ms(&bytes)));
        Some(plan.compare(undecided, known, on_record, observed))
    }

    fn settle(
        &mut self,
        machine: &MachineId,
        mut plan: Plan,
        down: &mut Vec<Body>,
        now_ms: i64,
    ) -> Option<Result<(), Status>> {
        let facts = plan.take_facts();
        if !facts.is_empty() {
            match self.write(machine.as_str(), "", facts, now_ms) {
                Ok(()) => {}
                Err(NotWritten::Full) if self.wrong == Some(Wrong::AckOfFullDisk) => {
                    down.extend(plan.settled().down);
                    return Some(Ok(()));
                }
                Err(failed) => return failed.status().map(Err),
            }
        }
        let running = self.running.as_mut()?;
        if !plan.is_in(&running.fold, machine) {
            return Some(Err(Status::aborted("another connection of this machine wrote meanwhile")));
        }
        let settled = plan.settled();
        running.forks.extend(settled.forks);
        down.extend(settled.down.into_iter().map(|body| match body {
            Body::Ack(ack) if self.wrong == Some(Wrong::AckTooFar) => {
                Body::Ack(seatbeat_proto::wire::Ack { sequence: ack.sequence + 1, ..ack })
            }
            body => body,
        }));
        Some(Ok(()))
    }

    /// What stands in the journal at a place of a chain.
    fn known(&mut self, place: (MachineId, SpoolId, u64)) -> Option<(Position, [u8; 32])> {
        let from = self.running.as_ref()?.rows_until;
        let fresh = self.records_from(from);
        let running = self.running.as_mut()?;
        for (at, bytes) in (from..running.fold.position()).zip(&fresh) {
            running.index(Position(at), bytes);
            running.rows_until = at + 1;
        }
        running.rows.get(&place).copied()
    }

    fn record(&self, at: Position) -> Option<Vec<u8>> {
        let files = self.running.as_ref()?.kept.files();
        files.read_from(at, 1).ok()?.pop().map(|(_, bytes)| bytes)
    }
}

impl Running {
    fn index(&mut self, at: Position, bytes: &[u8]) {
        let Ok(JournalRecord { fact: Some(Fact::EvidenceReceived(received)), .. }) =
            JournalRecord::decode(bytes)
        else {
            return;
        };
        let Some(signed) = received.evidence.filter(|_| !received.forked) else { return };
        let Ok(evidence) = Evidence::parse(&signed.payload, Timestamp::UNIX_EPOCH) else { return };
        let place = (evidence.machine, evidence.spool, evidence.sequence);
        self.rows.entry(place).or_insert((at, evidence.hash));
    }
}
