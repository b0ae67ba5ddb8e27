//! Evidence on its way into the journal. Invariant: an acknowledgement is made only of what is durable and in the
//! fold's chain with the same content; whatever cannot be told for certain ends the stream and loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use prost::Message as _;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::fold::evidence::{Body as Said, Evidence};
use seatbeat_ledger::registry::Tip;
use seatbeat_ledger::usage::judge;
use seatbeat_proto::ids::{MachineId, SpoolId};
use seatbeat_proto::instant;
use seatbeat_proto::wire::collector_message::Body;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{Ack, EvidenceReceived, JournalRecord, Refusal, Signed};
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::decide::{self, Comparison, Decision, Reason};
use super::door::Door;
use super::limits::LOOKUP_TIMEOUT;
use super::streams::Ending;
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

/// Evidence that was decided about and not yet written.
#[derive(Default)]
struct Plan {
    facts: Vec<Fact>,
    tips: BTreeMap<SpoolId, Tip>,
    acks: BTreeMap<SpoolId, u64>,
    forks: Vec<[u8; 32]>,
    refusals: Vec<Refusal>,
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
                plan.refusals.push(fault.refusal(&signed.payload));
                let ends = fault.ends_the_stream();
                return if ends { Err(Status::permission_denied(fault.to_string())) } else { Ok(()) };
            }
        };
        let folded = self.door.books.read(|fold| folded_tip(fold, &self.machine, &evidence.spool))?;
        let tip = plan.tips.get(&evidence.spool).copied().or(folded);
        match decide::place(&evidence, tip.as_ref()) {
            Decision::Append => plan.append(signed, &evidence),
            Decision::AckAgain => plan.acknowledge(&evidence),
            Decision::Refuse(reason) => plan.refusals.push(reason.refusal(&evidence)),
            Decision::Compare => {
                // The lookup knows only what is written.
                self.settle(std::mem::take(plan), outcome).await?;
                match decide::compare(&evidence, self.known(&evidence).await?) {
                    Comparison::Same => plan.acknowledge(&evidence),
                    Comparison::Fork { original } => self.plan_fork(signed, &evidence, original, plan)?,
                    Comparison::TooEarly => plan.refusals.push(Reason::TooEarly.refusal(&evidence)),
                }
            }
        }
        Ok(())
    }

    fn plan_fork(
        &self,
        signed: Signed,
        evidence: &Evidence,
        original: Position,
        plan: &mut Plan,
    ) -> Result<(), Status> {
        if !self.door.knows_fork(&evidence.hash) {
            tracing::info!(spool = %evidence.spool, sequence = evidence.sequence, "a fork was received");
            let fork_of_ms = self.observed_at_ms(original)?;
            plan.facts.push(received(signed, Some(fork_of_ms)));
            plan.forks.push(evidence.hash);
        }
        plan.refusals.push(Reason::Forked.refusal(evidence));
        Ok(())
    }

    /// When the report at a position was observed; 0 when it is none, or one that is not accepted.
    fn observed_at_ms(&self, position: Position) -> Result<i64, Status> {
        let records = self.door.books.records(position, 1).map_err(|error| {
            tracing::warn!(%error, "the journal cannot be read: a fork is not taken");
            Status::unavailable("the collector's journal cannot be read: connect again later")
        })?;
        let accepted = records.first().and_then(|(_, record)| {
            let record = JournalRecord::decode(record.as_slice()).ok()?;
            let received_at = instant::from_ms(record.recorded_at_ms).ok()?;
            let Some(Fact::EvidenceReceived(received)) = record.fact else { return None };
            match Evidence::parse(&received.evidence?.payload, received_at).ok()?.body {
                Said::Report(report) if judge(&report.record).is_ok() => Some(report.record.observed_at),
                _ => None,
            }
        });
        Ok(accepted.map_or(0, instant::to_ms))
    }

    /// Writes what is planned and says what came of it.
    async fn settle(&self, plan: Plan, outcome: &mut Outcome) -> Result<(), Status> {
        let Plan { facts, tips, acks, forks, refusals } = plan;
        let count = facts.len();
        if count > 0 {
            let bytes = facts.iter().map(length).sum();
            let _room = self.door.room(bytes).await?;
            self.door.write(&self.machine, facts).await?;
        }
        // Another stream of this machine may have been faster; then this one cannot say what became of its own.
        let in_chain = self.door.books.read(|fold| {
            tips.iter().all(|(spool, tip)| {
                let machine = fold.registry().machine(&self.machine);
                machine.is_some_and(|machine| machine.spools.get(spool) == Some(tip))
            })
        });
        if !in_chain {
            return Err(Status::aborted("another connection of this machine wrote meanwhile: connect again"));
        }
        outcome.written += count;
        forks.into_iter().for_each(|hash| self.door.remember_fork(hash));
        let acks =
            acks.into_iter().map(|(spool, sequence)| Body::Ack(Ack { spool: spool.to_string(), sequence }));
        outcome.down.extend(acks);
        outcome.down.extend(refusals.into_iter().map(Body::Refusal));
        Ok(())
    }

    /// The evidence that stands at this one's sequence in the journal: where, and its hash.
    async fn known(&self, evidence: &Evidence) -> Result<Option<(Position, [u8; 32])>, Status> {
        let folded = self.door.books.read(Fold::position);
        let since = Instant::now();
        while self.door.books.lookup().reflected().0 < folded {
            if since.elapsed() > LOOKUP_TIMEOUT {
                return Err(Status::unavailable(
                    "the collector's search rows are behind: connect again later",
                ));
            }
            sleep(LOOKUP_PAUSE).await;
        }
        let found = self.door.books.lookup().evidence(&self.machine, &evidence.spool, evidence.sequence);
        found.map_err(|error| {
            tracing::warn!(%error, "search rows cannot be read: a repeat cannot be told from a fork");
            Status::unavailable("the collector's search rows cannot be read: connect again later")
        })
    }
}

impl Plan {
    fn append(&mut self, signed: Signed, evidence: &Evidence) {
        self.facts.push(received(signed, None));
        let tip = Tip { sequence: evidence.sequence, hash: evidence.hash };
        self.tips.insert(evidence.spool.clone(), tip);
        self.acknowledge(evidence);
    }

    fn acknowledge(&mut self, evidence: &Evidence) {
        let sequence = self.acks.entry(evidence.spool.clone()).or_default();
        *sequence = (*sequence).max(evidence.sequence);
    }
}

/// The end of a chain, unless the machine is no longer let in.
fn folded_tip(fold: &Fold, machine: &MachineId, spool: &SpoolId) -> Result<Option<Tip>, Status> {
    match fold.registry().machine(machine) {
        Some(machine) if !machine.banned => Ok(machine.spools.get(spool).copied()),
        Some(_) => Err(Ending::Banned.status()),
        None => Err(Status::unauthenticated("this machine is not known here")),
    }
}

fn received(evidence: Signed, fork_of_ms: Option<i64>) -> Fact {
    Fact::EvidenceReceived(EvidenceReceived {
        evidence: Some(evidence),
        forked: fork_of_ms.is_some(),
        fork_of_ms: fork_of_ms.unwrap_or_default(),
    })
}

fn length(fact: &Fact) -> usize {
    match fact {
        Fact::EvidenceReceived(EvidenceReceived { evidence: Some(signed), .. }) => {
            signed.payload.len() + signed.signature.len()
        }
        _ => 0,
    }
}
