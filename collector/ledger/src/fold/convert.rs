//! Journal facts that count, as the ledger's own entries.
//! Invariant: an entry says what the fact says; `recorded_at` is when it was written into the journal.

use jiff::Timestamp;
use seatbeat_proto::wire::journal_record::Fact;

use super::{Entry, FoldError};
use crate::record::{Entry as LedgerEntry, Event, QUANTITY_MAX};

/// The entry that a metering fact amounts to.
pub(super) fn metering(entry: &Entry, fact: &Fact, recorded_at: Timestamp) -> Result<LedgerEntry, FoldError> {
    let (at_ms, event) = event(entry, fact)?;
    let words = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(LedgerEntry {
        at: entry.instant("at_ms", at_ms)?,
        recorded_at,
        // Two facts that say the same are two facts: an adjustment entered twice counts twice.
        id: Some(format!("journal-{}", entry.position)),
        operator: words(&entry.record.actor),
        reason: words(&entry.record.reason),
        event,
    })
}

fn event(entry: &Entry, fact: &Fact) -> Result<(i64, Event), FoldError> {
    let quantity = |size: u64| {
        if size > QUANTITY_MAX { Err(entry.invalid("quantity", "it is too large")) } else { Ok(size) }
    };
    Ok(match fact {
        Fact::MachineAssigned(f) => {
            let machine = entry.id("machine", &f.machine)?;
            (f.at_ms, Event::MachineAssigned { machine, customer: entry.id("customer", &f.customer)? })
        }
        Fact::SkuAssigned(f) => {
            let sku = f.sku.as_deref().map(|sku| entry.id("sku", sku)).transpose()?;
            let (customer, product) = (entry.id("customer", &f.customer)?, entry.id("product", &f.product)?);
            (f.at_ms, Event::SkuAssigned { customer, product, sku })
        }
        Fact::MachineRetired(f) => {
            (f.at_ms, Event::MachineRetired { machine: entry.id("machine", &f.machine)? })
        }
        Fact::MachinesMerged(f) => {
            let (kept, absorbed) = (entry.id("kept", &f.kept)?, entry.id("absorbed", &f.absorbed)?);
            (f.at_ms, Event::MachinesMerged { kept, absorbed })
        }
        Fact::MachinesSplit(f) => {
            let (kept, absorbed) = (entry.id("kept", &f.kept)?, entry.id("absorbed", &f.absorbed)?);
            (f.at_ms, Event::MachinesSplit { kept, absorbed })
        }
        Fact::MachineFlagged(f) => {
            let machine = entry.id("machine", &f.machine)?;
            (f.at_ms, Event::MachineFlagged { machine, flag: f.flag.clone() })
        }
        Fact::LicenceSuspended(f) => {
            let customer = entry.id("customer", &f.customer)?;
            (f.at_ms, Event::LicenceSuspended { customer, sku: entry.id("sku", &f.sku)? })
        }
        Fact::LicenceResumed(f) => {
            let customer = entry.id("customer", &f.customer)?;
            (f.at_ms, Event::LicenceResumed { customer, sku: entry.id("sku", &f.sku)? })
        }
        Fact::Declared(f) => {
            let (customer, sku) = (entry.id("customer", &f.customer)?, entry.id("sku", &f.sku)?);
            let (period, quantity) = (entry.id("period", &f.period)?, quantity(f.quantity)?);
            (f.at_ms, Event::Declared { customer, sku, period, quantity })
        }
        Fact::Adjusted(f) => {
            let (customer, sku) = (entry.id("customer", &f.customer)?, entry.id("sku", &f.sku)?);
            quantity(f.delta.unsigned_abs())?;
            let period = entry.id("period", &f.period)?;
            (f.at_ms, Event::Adjusted { customer, sku, period, delta: f.delta })
        }
        _ => return Err(FoldError::UnknownFact(entry.position)),
    })
}
