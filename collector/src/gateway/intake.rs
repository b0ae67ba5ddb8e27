//! Evidence on its way into the journal. Invariant: an acknowledgement is made only of what is durable and in the
//! fold's chain with the same content; whatever cannot be told for certain ends the stream and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use seatbeat_ledger::fold::evidence::Evidence;
use seatbeat_proto::ids::MachineId;
use seatbeat_proto::wire::collector_message::Body;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{EvidenceReceived, Signed};
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::decide;
use super::door::Door;
use super::limits::LOOKUP_TIMEOUT;
use super::plan::{Plan, folded_tip, observed_at_ms};
use crate::journal::Position;

/// How often a comparison looks whether the lookup rows have caught up.
const LOOKUP_PAUSE: Duration = Duration::from_millis(10);

/// What comes of a group of evidence: what the agent is told, and why its stream ends, if it does.
#[derive(Default)]
pub struct Outcome {
    pub down: Vec<Body>,
    pub written: usize,
    pub end: Option<Status>,
}

/// Takes the evidence of one stream.
pub struct Intake {
    door: Arc<Door>,
    machine: MachineId,
    key: VerifyingKey,
}

impl Intake {
    /// For a stream of the machine with this key.
    pub fn new(door: Arc<Door>, machine: MachineId, key: VerifyingKey) -> Self {
        Self { door, machine, key }
    }

    /// Takes evidence in the order in which it came; what is acknowledged is durable when it returns.
    pub async fn take(&self, group: Vec<Signed>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut plan = Plan::default();
        for signed in group {
            if let Err(status) = self.take_one(signed, &mut plan, &mut outcome).await {
                outcome.end = Some(status);
                break;
            }
        }
        // What was decided before the fault is the agent's valid evidence still.
        if let Err(status) = self.settle(plan, &mut outcome).await {
            outcome.end = Some(status);
        }
        outcome
    }

    async fn take_one(&self, signed: Signed, plan: &mut Plan, outcome: &mut Outcome) -> Result<(), Status> {
        if let Some(fault) = self.door.clock_fault() {
            return Err(fault);
        }
        if !self.door.may_send(&self.machine) {
            return Err(Status::resource_exhausted(
                "more evidence than a machine may send: come again later",
            ));
        }
        let now = self.door.books.clock().now();
        let evidence = match decide::read(&signed, &self.machine, &self.key, now) {
            Ok(evidence) => evidence,
            Err(fault) => {
                tracing::info!(%fault, "evidence was refused");
                plan.refuse(&fault, &signed.payload);
                let ends = fault.ends_the_stream();
                return if ends { Err(Status::permission_denied(fault.to_string())) } else { Ok(()) };
            }
        };
        self.door.witness.saw(&self.door.books, &evidence.checkpoint);
        let folded = self.door.books.read(|fold| folded_tip(fold, &self.machine, &evidence.spool))?;
        if let Some(undecided) = plan.take(signed, evidence, folded) {
            // The lookup knows only what is written.
            self.settle(std::mem::take(plan), outcome).await?;
            let known = self.known(&undecided.evidence).await?;
            let on_record = |hash: &[u8; 32]| self.door.knows_fork(hash);
            plan.compare(undecided, known, on_record, |original| self.observed_at_ms(original))?;
        }
        Ok(())
    }

    fn observed_at_ms(&self, position: Position) -> Result<i64, Status> {
        let records = self.door.books.records(position, 1).map_err(|error| {
            tracing::warn!(%error, "the journal cannot be read: a fork is not taken");
            Status::unavailable("the collector's journal cannot be read: connect again later")
        })?;
        Ok(records.first().map_or(0, |(_, record)| observed_at_ms(record)))
    }

    /// Writes what is planned and says what came of it.
    async fn settle(&self, mut plan: Plan, outcome: &mut Outcome) -> Result<(), Status> {
        let facts = plan.take_facts();
        let count = facts.len();
        if count > 0 {
            let bytes = facts.iter().map(length).sum();
            let _room = self.door.room(bytes).await?;
            self.door.write(&self.machine, facts).await?;
        }
        if !self.door.books.read(|fold| plan.is_in(fold, &self.machine)) {
            return Err(Status::aborted("another connection of this machine wrote meanwhile: connect again"));
        }
        outcome.written += count;
        let settled = plan.settled();
        settled.forks.into_iter().for_each(|hash| self.door.remember_fork(hash));
        outcome.down.extend(settled.down);
        Ok(())
    }

    /// The evidence that stands at this one's sequence in the journal: where, and its hash.
    async fn known(&self, evidence: &Evidence) -> Result<Option<(Position, [u8; 32])>, Status> {
        let since = Instant::now();
        while !self.door.books.search_is_current() {
            if since.elapsed() > LOOKUP_TIMEOUT {
                return Err(Status::unavailable(
                    "the collector's search rows are behind: connect again later",
                ));
            }
            sleep(LOOKUP_PAUSE).await;
        }
        let found = self.door.books.evidence(&self.machine, &evidence.spool, evidence.sequence);
        found.map(|found| found.map(|(at, evidence)| (at, evidence.hash))).map_err(|error| {
            tracing::warn!(%error, "search rows cannot be read: a repeat cannot be told from a fork");
            Status::unavailable("the collector's search rows cannot be read: connect again later")
        })
    }
}

fn length(fact: &Fact) -> usize {
    match fact {
        Fact::EvidenceReceived(EvidenceReceived { evidence: Some(signed), .. }) => {
            signed.payload.len() + signed.signature.len()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_takes_as_much_room_as_it_has_bytes() {
        let signed = Signed { payload: vec![1; 1000], signature: vec![2; 64] };
        let fact = EvidenceReceived { evidence: Some(signed), ..EvidenceReceived::default() };
        assert_eq!(length(&Fact::EvidenceReceived(fact)), 1064);
    }
}
