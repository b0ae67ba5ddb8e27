//! Rule 13: what the two sealed periods before would have said, had all been known.
//! Invariant: a sealed statement is never rewritten; the difference is carried once, by one later statement.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::CustomerId;

use crate::body::{SealedBody, SealedLine, newest_revisions};
use crate::calendar::Period;
use crate::close::{CloseError, CloseInput, priced_lines};
use crate::money::{Decimal, Quantity, TooLarge};
use crate::policy::{Policy, PriceMode};
use crate::pricing::{correction_cost, group_totals, unit_cost_at};
use crate::record::Sku;
use crate::statement::{Correction, Line};

type Key = (CustomerId, Sku);

/// The corrections that the statement of `input.period` carries, sorted.
pub fn corrections(input: &CloseInput<'_>) -> Result<Vec<Correction>, CloseError> {
    let bodies = newest_revisions(input.sealed);
    let mut corrections = Vec::new();
    for period in [input.period.previous().previous(), input.period.previous()] {
        if let Some(sealed) = SealedPeriod::of(period, input, &bodies)? {
            corrections.extend(sealed.corrections(input)?);
        }
    }
    Ok(corrections)
}

/// A period as it was sealed, over all distributors, with what was corrected of it since.
struct SealedPeriod<'a> {
    period: Period,
    policy: &'a Policy,
    lines: BTreeMap<Key, &'a SealedLine>,
    carried: BTreeMap<Key, Carried>,
}

/// What statements since have corrected.
#[derive(Clone, Copy)]
struct Carried {
    delta: Quantity,
    cost: Decimal,
}

impl Default for Carried {
    fn default() -> Self {
        Self { delta: Quantity::ZERO, cost: Decimal::zero(0) }
    }
}

impl<'a> SealedPeriod<'a> {
    /// `None` for a period that was never sealed: there is nothing to correct.
    fn of(
        period: Period,
        input: &CloseInput<'a>,
        bodies: &[&'a SealedBody],
    ) -> Result<Option<Self>, CloseError> {
        let sealed: Vec<&SealedBody> = bodies.iter().filter(|body| body.period == period).copied().collect();
        if sealed.is_empty() {
            return Ok(None);
        }
        let mut lines = BTreeMap::new();
        for line in sealed.iter().flat_map(|body| &body.lines) {
            let key = (line.customer.clone(), line.sku.clone());
            if lines.insert(key, line).is_some() {
                let (customer, sku) = (line.customer.clone(), line.sku.clone());
                return Err(CloseError::SealedTwice { period, customer, sku });
            }
        }
        let mut carried: BTreeMap<Key, Carried> = BTreeMap::new();
        // A statement of this or a later period cannot have been sealed before this one.
        for body in bodies.iter().filter(|body| body.period > period && body.period < input.period) {
            for correction in body.corrections.iter().filter(|one| one.for_period == period) {
                let sum = carried.entry((correction.customer.clone(), correction.sku.clone())).or_default();
                sum.delta = sum.delta.plus(correction.delta)?;
                sum.cost = sum.cost.plus(correction.cost.unwrap_or(Decimal::zero(0)))?;
            }
        }
        let policy = sealed.iter().find_map(|body| body.policy.as_ref()).unwrap_or(input.policy);
        Ok(Some(Self { period, policy, lines, carried }))
    }

    fn corrections(&self, input: &CloseInput<'_>) -> Result<Vec<Correction>, CloseError> {
        let usage = input.usage_in(&self.policy.zone)?;
        let (now, _) = priced_lines(usage, self.policy, self.period, input.as_of)?;
        let totals = group_totals(&now, self.policy)?;
        let now: BTreeMap<Key, &Line> =
            now.iter().map(|line| ((line.customer.clone(), line.sku.clone()), line)).collect();
        let keys: BTreeSet<&Key> = self.lines.keys().chain(self.carried.keys()).chain(now.keys()).collect();
        let mut corrections = Vec::new();
        for key in keys {
            let carried = self.carried.get(key).copied().unwrap_or_default();
            let sealed = self.lines.get(key).copied();
            let billed = sealed.map_or(Quantity::ZERO, |line| line.quantity).plus(carried.delta)?;
            let line = now.get(key).copied();
            let delta = line.map_or(Quantity::ZERO, |line| line.quantity).minus(billed)?;
            if delta.is_zero() {
                continue;
            }
            let group = self.policy.group(&key.1);
            let total = group.and_then(|(name, _)| totals.get(name)).copied().unwrap_or_default();
            corrections.push(Correction {
                for_period: self.period,
                customer: key.0.clone(),
                sku: key.1.clone(),
                delta,
                cost: self.cost(&key.1, sealed, line, carried, delta, total)?,
                distributor: sealed
                    .and_then(|line| line.distributor.clone())
                    .or_else(|| group.map(|(_, group)| group.distributor.clone())),
            });
        }
        Ok(corrections)
    }

    /// At the sealed unit cost; a line that was not sealed has none and is priced as it is recomputed.
    /// For graduated prices, what the line costs now less what was billed for it, corrections included.
    fn cost(
        &self,
        sku: &Sku,
        sealed: Option<&SealedLine>,
        now: Option<&Line>,
        carried: Carried,
        delta: Quantity,
        total: Quantity,
    ) -> Result<Option<Decimal>, TooLarge> {
        let group = self.policy.group(sku).map(|(_, group)| group);
        if let Some(line) = sealed
            && let Some(unit) = &line.unit_cost
        {
            let currency = line.currency.as_deref().or(group.map(|group| group.currency.as_str()));
            return correction_cost(unit, delta, currency.unwrap_or_default()).map(Some);
        }
        let Some(group) = group else { return Ok(None) };
        if group.mode == PriceMode::Volume {
            return correction_cost(unit_cost_at(group, total), delta, &group.currency).map(Some);
        }
        let nothing = Decimal::zero(group.digits());
        let billed = sealed.and_then(|line| line.cost).unwrap_or(nothing).plus(carried.cost)?;
        let due = now.and_then(|line| line.price.as_ref()).map_or(nothing, |price| price.cost);
        due.minus(billed).map(Some)
    }
}
