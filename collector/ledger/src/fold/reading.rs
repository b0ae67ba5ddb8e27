//! A journal record read as far as that needs no state: nobody who asks the fold waits for it. Invariant: a function of
//! the record's bytes.

use prost::Message as _;
use seatbeat_proto::ids::{BatchId, MachineId, OrderId};
use seatbeat_proto::instant;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{JournalRecord, Order};

use super::evidence::Evidence;
use crate::merkle::{Hash, leaf};

/// A record to be folded.
#[derive(Debug)]
pub struct Reading {
    pub(super) record: Result<JournalRecord, prost::DecodeError>,
    /// What it holds, when that is valid evidence.
    pub(super) evidence: Option<Evidence>,
    pub(super) leaf: Hash,
}

/// Whom a record brings something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForMachines {
    /// One machine.
    Machine(MachineId),
    /// Those of a batch of orders.
    Batch(BatchId),
    /// That of an order.
    Order(OrderId),
    /// All.
    All,
}

impl Reading {
    /// Reads a record; whether it folds is told where it is folded.
    pub fn of(bytes: &[u8]) -> Self {
        let record = JournalRecord::decode(bytes);
        let evidence = record.as_ref().ok().and_then(evidence);
        Self { record, evidence, leaf: leaf(bytes) }
    }

    /// The evidence that the record holds, when it is valid.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }

    /// Whether it is evidence that was recorded as the other side of a fork.
    pub fn is_fork(&self) -> bool {
        let fact = self.record.as_ref().ok().and_then(|record| record.fact.as_ref());
        matches!(fact, Some(Fact::EvidenceReceived(received)) if received.forked)
    }

    /// Whether it came from a machine by itself: nobody decided it.
    pub fn is_of_machine(&self) -> bool {
        let fact = self.record.as_ref().ok().and_then(|record| record.fact.as_ref());
        matches!(fact, Some(Fact::EvidenceReceived(_) | Fact::EnrolmentRequested(_)))
    }

    /// Whether it bans a machine.
    pub fn bans(&self) -> bool {
        let fact = self.record.as_ref().ok().and_then(|record| record.fact.as_ref());
        matches!(fact, Some(Fact::MachineBanned(ban)) if ban.banned)
    }

    /// What may be sent to machines once the record is folded, or is not to be begun there any more.
    pub fn for_machines(&self) -> Option<ForMachines> {
        match self.record.as_ref().ok()?.fact.as_ref()? {
            Fact::OrderSigned(signed) => {
                let order = Order::decode(signed.order.as_ref()?.payload.as_slice()).ok()?;
                Some(ForMachines::Machine(order.machine.parse().ok()?))
            }
            Fact::OrderCancelled(cancelled) if cancelled.order.is_empty() => {
                Some(ForMachines::Batch(cancelled.batch.parse().ok()?))
            }
            Fact::OrderCancelled(cancelled) => Some(ForMachines::Order(cancelled.order.parse().ok()?)),
            Fact::OrderKeysSet(_) => Some(ForMachines::All),
            _ => None,
        }
    }

    /// Takes the evidence out.
    pub fn into_evidence(self) -> Option<Evidence> {
        self.evidence
    }
}

fn evidence(record: &JournalRecord) -> Option<Evidence> {
    let Some(Fact::EvidenceReceived(received)) = &record.fact else { return None };
    let received_at = instant::from_ms(record.recorded_at_ms).ok()?;
    Evidence::parse(&received.evidence.as_ref()?.payload, received_at).ok()
}
