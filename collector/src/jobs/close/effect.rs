//! What a record would do to the statements that are not sealed yet. Invariant: nothing is written; the record is
//! folded on a copy, so a preview and the write that follows it are decided by the same rules.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::{Fold, FoldError, Verdict};
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::registry::Refusal;
use seatbeat_ledger::statement::Statement;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire::JournalRecord;
use serde::Serialize;

use super::draft::compute;
use super::{CloseError, Closing};

/// A quantity that changes in a statement that is not sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// Whose statement.
    pub period: Period,
    /// Of a correction: the sealed month that it corrects.
    pub for_period: Option<Period>,
    /// Whose seats.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// As it is.
    pub before: Quantity,
    /// As it would be.
    pub after: Quantity,
}

/// A record whose effect cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// The fold would not take it.
    #[error("the record would not be taken: {0}")]
    Refused(Refusal),
    /// It is no record.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// A statement cannot be computed.
    #[error(transparent)]
    Close(#[from] CloseError),
}

impl Closing {
    /// What a record would change in the statements of the running month, of the one before unless it is sealed, and
    /// of `named`, a month that the record itself speaks of. Blocks while it computes.
    ///
    /// # Errors
    /// When the record would not be taken, or a statement cannot be computed.
    pub fn effect(&self, record: &JournalRecord, named: Option<Period>) -> Result<Vec<Effect>, EffectError> {
        let now = self.books.clock().now();
        let record = record.encode_to_vec();
        let _one_at_a_time = self.kept.drafts.making();
        self.compute(|fold| {
            let mut changed = fold.clone();
            match changed.apply(&record)? {
                Verdict::Taken => {}
                Verdict::Refused(refusal) => return Err(EffectError::Refused(refusal)),
            }
            let mut effects = Vec::new();
            for period in open_periods(fold, now, named) {
                let (before, after) = (quantities(fold, period, now)?, quantities(&changed, period, now)?);
                effects.extend(differences(period, &before, &after));
            }
            Ok(effects)
        })
    }
}

fn open_periods(fold: &Fold, now: Timestamp, named: Option<Period>) -> BTreeSet<Period> {
    let running = Period::of_day(fold.usage().zone().usage_day(now));
    let mut periods: BTreeSet<Period> = [running.previous(), running].into_iter().chain(named).collect();
    periods.retain(|period| fold.sealed(*period).next().is_none());
    periods
}

type Quantities = BTreeMap<(Option<Period>, CustomerId, Sku), Quantity>;

fn quantities(fold: &Fold, period: Period, now: Timestamp) -> Result<Quantities, CloseError> {
    let policy = fold.terms().policy(period)?;
    let end = policy.zone.first_instant(period.next().first_day());
    let Statement { lines, corrections, .. } =
        compute(fold, &policy, period, (now < end).then_some(now))?.statement;
    let lines = lines.into_iter().map(|line| ((None, line.customer, line.sku), line.quantity));
    let corrections = corrections.into_iter().map(|correction| {
        ((Some(correction.for_period), correction.customer, correction.sku), correction.delta)
    });
    Ok(lines.chain(corrections).collect())
}

fn differences(period: Period, before: &Quantities, after: &Quantities) -> Vec<Effect> {
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let quantity = |all: &Quantities, key| all.get(key).copied().unwrap_or_default();
    keys.into_iter()
        .map(|key| {
            let (for_period, customer, sku) = key.clone();
            Effect {
                period,
                for_period,
                customer,
                sku,
                before: quantity(before, key),
                after: quantity(after, key),
            }
        })
        .filter(|effect| effect.before != effect.after)
        .collect()
}
