//! What others say of sealed months, in the fold. Invariant: nothing is compared with a month that was never sealed,
//! and no row is of a customer that is not known.

use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::wire;

use super::{Entry, Fold, Stop, refuse_unless};
use crate::calendar::Period;
use crate::currency::minor_digits;
use crate::money::{Decimal, Quantity};
use crate::reconciliation::parts::PART_BYTES_MAX;
use crate::reconciliation::{Against, Explained, Key, Part, Sides, Source, Theirs, Unmapped};
use crate::registry::Refusal;

/// Rows of one part, as each has some bytes.
const ROWS_MAX: usize = PART_BYTES_MAX / 8;

impl Fold {
    pub(super) fn note_provisioned(
        &mut self,
        entry: &Entry,
        fact: &wire::ProvisionedNoted,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let source = entry.id("destination", &fact.destination)?;
        refuse_unless(source != Source::Invoice && fact.rows.len() <= ROWS_MAX, Refusal::Malformed)?;
        let against = self.against(entry, &fact.period, &fact.distributor, source)?;
        let row = |row: &wire::ProvisionedRow| {
            let (quantity, used) = (row.provisioned.map(Quantity::units), row.used);
            Ok((self.line(entry, &row.customer, &row.sku)?, Theirs { quantity, used, amount: None }))
        };
        let rows = fact.rows.iter().map(row).collect::<Result<Vec<_>, Stop>>()?;
        let unmapped = Unmapped { subscriptions: fact.unmapped, seats: fact.unmapped_seats };
        self.stage_set(entry, against, fact.part.as_ref(), (None, unmapped, rows), at)
    }

    pub(super) fn import_invoice(
        &mut self,
        entry: &Entry,
        fact: &wire::InvoiceImported,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let is_sound = minor_digits(&fact.currency).is_some() && fact.rows.len() <= ROWS_MAX;
        refuse_unless(is_sound, Refusal::Malformed)?;
        let against = self.against(entry, &fact.period, &fact.distributor, Source::Invoice)?;
        let row = |row: &wire::InvoicedRow| {
            let quantity = Some(entry.id("quantity", &row.quantity)?);
            let amount: Option<Decimal> = Some(entry.id("amount", &row.amount)?);
            Ok((self.line(entry, &row.customer, &row.sku)?, Theirs { quantity, used: None, amount }))
        };
        let rows = fact.rows.iter().map(row).collect::<Result<Vec<_>, Stop>>()?;
        let said = (Some(fact.currency.clone()), Unmapped::default(), rows);
        self.stage_set(entry, against, fact.part.as_ref(), said, at)
    }

    pub(super) fn explain_difference(
        &mut self,
        entry: &Entry,
        fact: &wire::DifferenceExplained,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let source = entry.id("source", &fact.source)?;
        let against = self.against(entry, &fact.period, &fact.distributor, source)?;
        let key = self.line(entry, &fact.customer, &fact.sku)?;
        let amount = |field, text: &str| {
            if text.is_empty() { Ok(None) } else { entry.id(field, text).map(Some) }
        };
        let sides = Sides {
            ours: entry.id("ours", &fact.ours)?,
            theirs: entry.id("theirs", &fact.theirs)?,
            cost: amount("cost", &fact.cost)?,
            amount: amount("amount", &fact.amount)?,
        };
        let (reason, by) = (entry.record.reason.clone(), entry.record.actor.clone());
        let explained = Explained { sides, reason, by, at };
        Ok(Arc::make_mut(&mut self.reconciliation).explain(against, key, explained)?)
    }

    fn stage_set(
        &mut self,
        entry: &Entry,
        against: Against,
        part: Option<&wire::SetPart>,
        (currency, unmapped, rows): (Option<String>, Unmapped, Vec<(Key, Theirs)>),
        at: Timestamp,
    ) -> Result<(), Stop> {
        let part = part.ok_or_else(|| entry.invalid("part", "it is missing"))?;
        let (set, number, parts) = (part.set.clone(), part.part, part.parts);
        let part = Part { set, part: number, parts, currency, unmapped, rows };
        let who = (at, entry.record.actor.as_str());
        Ok(Arc::make_mut(&mut self.reconciliation).stage(against, part, entry.position, who)?)
    }

    fn against(
        &self,
        entry: &Entry,
        period: &str,
        distributor: &str,
        source: Source,
    ) -> Result<Against, Stop> {
        let period: Period = entry.id("period", period)?;
        let is_sealed = self.sealed(period).any(|(name, _)| name == distributor);
        refuse_unless(is_sealed, Refusal::NotSealed)?;
        Ok(Against { period, distributor: distributor.to_owned(), source })
    }

    fn line(&self, entry: &Entry, customer: &str, sku: &str) -> Result<Key, Stop> {
        let key: Key = (entry.id("customer", customer)?, entry.id("sku", sku)?);
        refuse_unless(self.registry.customers.contains(&key.0), Refusal::UnknownCustomer)?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests;
