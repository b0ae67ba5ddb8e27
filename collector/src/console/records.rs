//! The journal as the ledger's records. Invariant: what is given out is exactly what the fold counted, record for
//! record, so that whoever meters it comes to the same statement.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::fold::evidence::{Body, Evidence};
use seatbeat_ledger::fold::{Fold, FoldError, Verdict};
use seatbeat_ledger::record::{Entry, Event, Record};
use seatbeat_proto::ids::{MachineId, OrderId, ProductId};
use seatbeat_proto::instant;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, Action, JournalRecord};

/// Folds a journal from its start, and tells what each record adds to the count.
#[derive(Default)]
pub struct Replay {
    fold: Fold,
    orders: BTreeMap<OrderId, Switch>,
}

/// An order that switches a product.
struct Switch {
    machine: MachineId,
    product: ProductId,
    off: bool,
}

impl Replay {
    /// Takes the next record; gives what it adds to the count, if anything.
    ///
    /// # Errors
    /// When the bytes are no record that this version understands.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<Record>, FoldError> {
        let position = self.fold.position();
        if self.fold.apply(bytes)? != Verdict::Taken {
            return Ok(None);
        }
        let record =
            JournalRecord::decode(bytes).map_err(|source| FoldError::Undecodable { position, source })?;
        Ok(self.counted(position, record))
    }

    /// The fold so far.
    pub fn fold(&self) -> &Fold {
        &self.fold
    }

    /// What a record that was taken adds; its fields are valid, as the fold has taken it.
    fn counted(&mut self, position: u64, record: JournalRecord) -> Option<Record> {
        let recorded_at = instant::from_ms(record.recorded_at_ms).ok()?;
        match record.fact? {
            Fact::EnrolmentRequested(fact) => {
                let claim = wire::EnrolmentClaim::decode(fact.claim?.payload.as_slice()).ok()?;
                let machine = MachineId::derived_from(&claim.public_key);
                let customer = self.fold.registry().machine(&machine)?.customer.clone();
                Some(Record::Entry(Entry::new(recorded_at, Event::MachineAssigned { machine, customer })))
            }
            Fact::EvidenceReceived(fact) => {
                let evidence = Evidence::parse(&fact.evidence?.payload, recorded_at).ok()?;
                match evidence.body {
                    Body::Report(report) => Some(Record::Report(report.record)),
                    Body::OrderResult { order, done: true } => {
                        self.switched(&order, evidence.machine, evidence.observed_at)
                    }
                    Body::OrderResult { done: false, .. } => None,
                }
            }
            Fact::OrderPlaced(fact) => {
                self.note_order(&fact.order?.payload);
                None
            }
            fact => {
                let (at_ms, event) = event(fact)?;
                let words = |text: String| (!text.is_empty()).then_some(text);
                Some(Record::Entry(Entry {
                    at: instant::from_ms(at_ms).ok()?,
                    recorded_at,
                    id: Some(format!("journal-{position}")),
                    operator: words(record.actor),
                    reason: words(record.reason),
                    event,
                }))
            }
        }
    }

    fn note_order(&mut self, payload: &[u8]) -> Option<()> {
        let order = wire::Order::decode(payload).ok()?;
        let off = match order.action() {
            Action::SwitchOff => true,
            Action::SwitchOn => false,
            _ => return None,
        };
        let switch =
            Switch { machine: order.machine.parse().ok()?, product: order.product.parse().ok()?, off };
        self.orders.insert(order.order.parse().ok()?, switch);
        Some(())
    }

    fn switched(&self, order: &OrderId, machine: MachineId, at: Timestamp) -> Option<Record> {
        let switch = self.orders.get(order).filter(|switch| switch.machine == machine)?;
        let product = switch.product.clone();
        let event = if switch.off {
            Event::SwitchedOff { machine, product }
        } else {
            Event::SwitchedOn { machine, product }
        };
        Some(Record::Entry(Entry::new(at, event)))
    }
}

/// When a fact takes effect, and what it says; none for facts that count nothing.
fn event(fact: Fact) -> Option<(i64, Event)> {
    Some(match fact {
        Fact::MachineAssigned(f) => {
            let (machine, customer) = (f.machine.parse().ok()?, f.customer.parse().ok()?);
            (f.at_ms, Event::MachineAssigned { machine, customer })
        }
        Fact::SkuAssigned(f) => {
            let sku = match f.sku {
                Some(sku) => Some(sku.parse().ok()?),
                None => None,
            };
            let (customer, product) = (f.customer.parse().ok()?, f.product.parse().ok()?);
            (f.at_ms, Event::SkuAssigned { customer, product, sku })
        }
        Fact::MachineRetired(f) => (f.at_ms, Event::MachineRetired { machine: f.machine.parse().ok()? }),
        Fact::MachinesMerged(f) => {
            let (kept, absorbed) = (f.kept.parse().ok()?, f.absorbed.parse().ok()?);
            (f.at_ms, Event::MachinesMerged { kept, absorbed })
        }
        Fact::MachinesSplit(f) => {
            let (kept, absorbed) = (f.kept.parse().ok()?, f.absorbed.parse().ok()?);
            (f.at_ms, Event::MachinesSplit { kept, absorbed })
        }
        Fact::MachineFlagged(f) => {
            (f.at_ms, Event::MachineFlagged { machine: f.machine.parse().ok()?, flag: f.flag })
        }
        Fact::LicenceSuspended(f) => {
            let (customer, sku) = (f.customer.parse().ok()?, f.sku.parse().ok()?);
            (f.at_ms, Event::LicenceSuspended { customer, sku })
        }
        Fact::LicenceResumed(f) => {
            let (customer, sku) = (f.customer.parse().ok()?, f.sku.parse().ok()?);
            (f.at_ms, Event::LicenceResumed { customer, sku })
        }
        Fact::Declared(f) => {
            let (customer, sku) = (f.customer.parse().ok()?, f.sku.parse().ok()?);
            let period = f.period.parse().ok()?;
            (f.at_ms, Event::Declared { customer, sku, period, quantity: f.quantity })
        }
        Fact::Adjusted(f) => {
            let (customer, sku) = (f.customer.parse().ok()?, f.sku.parse().ok()?);
            let period = f.period.parse().ok()?;
            (f.at_ms, Event::Adjusted { customer, sku, period, delta: f.delta })
        }
        _ => return None,
    })
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
