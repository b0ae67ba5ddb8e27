//! What becomes of a group of evidence: what is written, and what is told when it is durable. Invariant: no clock, no
//! store, no network; an acknowledgement is planned only with the record that it is of, or of what is known to be in
//! the journal.

use std::collections::BTreeMap;

use jiff::Timestamp;
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
use tonic::Status;

use super::decide::{self, Comparison, Decision, Fault, Reason};
use super::streams::Ending;
use crate::journal::Position;

/// Evidence that was decided about and not yet written.
#[derive(Debug, Default)]
pub struct Plan {
    facts: Vec<Fact>,
    tips: BTreeMap<SpoolId, Tip>,
    acks: BTreeMap<SpoolId, u64>,
    forks: Vec<[u8; 32]>,
    refusals: Vec<Refusal>,
}

/// Evidence whose sequence is taken: what stands there has to be looked up, once what is planned is written.
#[derive(Debug)]
pub struct Undecided {
    signed: Signed,
    /// What it says.
    pub evidence: Evidence,
}

/// What remains of a plan that was written.
#[derive(Debug, Default)]
pub struct Settled {
    /// What the agent is told.
    pub down: Vec<Body>,
    /// Hashes of forks that are on record now.
    pub forks: Vec<[u8; 32]>,
}

impl Plan {
    /// Refuses evidence that is not what a machine may say.
    pub fn refuse(&mut self, fault: &Fault, payload: &[u8]) {
        self.refusals.push(fault.refusal(payload));
    }

    /// Decides about evidence whose chain ends, folded, with `folded`.
    pub fn take(&mut self, signed: Signed, evidence: Evidence, folded: Option<Tip>) -> Option<Undecided> {
        let tip = self.tips.get(&evidence.spool).copied().or(folded);
        match decide::place(&evidence, tip.as_ref()) {
            Decision::Append => self.append(signed, &evidence),
            Decision::AckAgain => self.acknowledge(&evidence),
            Decision::Refuse(reason) => self.refusals.push(reason.refusal(&evidence)),
            Decision::Compare => return Some(Undecided { signed, evidence }),
        }
        None
    }

    /// Decides about evidence whose sequence is taken by what is `known` there; `on_record`: this fork is written
    /// already; `observed_at_ms`: when the report at a position was observed ([`observed_at_ms`]).
    ///
    /// # Errors
    /// What `observed_at_ms` fails with: nothing is decided then.
    pub fn compare<E>(
        &mut self,
        undecided: Undecided,
        known: Option<(Position, [u8; 32])>,
        on_record: impl FnOnce(&[u8; 32]) -> bool,
        observed_at_ms: impl FnOnce(Position) -> Result<i64, E>,
    ) -> Result<(), E> {
        let Undecided { signed, evidence } = undecided;
        match decide::compare(&evidence, known) {
            Comparison::Same => self.acknowledge(&evidence),
            Comparison::TooEarly => self.refusals.push(Reason::TooEarly.refusal(&evidence)),
            Comparison::Fork { original } => {
                if !on_record(&evidence.hash) {
                    tracing::info!(spool = %evidence.spool, sequence = evidence.sequence, "a fork was received");
                    let fork_of_ms = observed_at_ms(original)?;
                    self.facts.push(received(signed, Some(fork_of_ms)));
                    self.forks.push(evidence.hash);
                }
                self.refusals.push(Reason::Forked.refusal(&evidence));
            }
        }
        Ok(())
    }

    /// What is to be written, in order.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// Whether a fold that has seen what was written ends each chain as was planned: another stream of this machine
    /// may have been faster, and then nobody can say what became of these.
    pub fn is_in(&self, fold: &Fold, machine: &MachineId) -> bool {
        self.tips.iter().all(|(spool, tip)| {
            fold.registry().machine(machine).is_some_and(|machine| machine.spools.get(spool) == Some(tip))
        })
    }

    /// What comes of it, now that it is durable and folded.
    pub fn settled(self) -> Settled {
        let acks = self.acks.into_iter();
        let acks = acks.map(|(spool, sequence)| Body::Ack(Ack { spool: spool.to_string(), sequence }));
        Settled {
            down: acks.chain(self.refusals.into_iter().map(Body::Refusal)).collect(),
            forks: self.forks,
        }
    }

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

/// The end of a machine's chain.
///
/// # Errors
/// When the machine is not, or no longer, let in.
pub fn folded_tip(fold: &Fold, machine: &MachineId, spool: &SpoolId) -> Result<Option<Tip>, Status> {
    match fold.registry().machine(machine) {
        Some(machine) if !machine.banned => Ok(machine.spools.get(spool).copied()),
        Some(_) => Err(Ending::Banned.status()),
        None => Err(Status::unauthenticated("this machine is not known here")),
    }
}

/// When the report in a journal record was observed; 0 when it is none, or one that is not accepted.
pub fn observed_at_ms(record: &[u8]) -> i64 {
    let accepted = || -> Option<Timestamp> {
        let record = JournalRecord::decode(record).ok()?;
        let received_at = instant::from_ms(record.recorded_at_ms).ok()?;
        let Some(Fact::EvidenceReceived(received)) = record.fact else { return None };
        match Evidence::parse(&received.evidence?.payload, received_at).ok()?.body {
            Said::Report(report) if judge(&report.record).is_ok() => Some(report.record.observed_at),
            _ => None,
        }
    };
    accepted().map_or(0, instant::to_ms)
}

fn received(evidence: Signed, fork_of_ms: Option<i64>) -> Fact {
    Fact::EvidenceReceived(EvidenceReceived {
        evidence: Some(evidence),
        forked: fork_of_ms.is_some(),
        fork_of_ms: fork_of_ms.unwrap_or_default(),
    })
}
