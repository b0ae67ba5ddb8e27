//! Why a line probably differs: what the collector knows of it beside the two sides. Invariant: a likely reason, never
//! a number: nothing is corrected by it, and a person still says what it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::compare::{Comparison, Difference};
use super::{Against, Key, Source};
use crate::calendar::{Period, UsageDay};
use crate::fold::Fold;
use crate::machines::{Machine, Names};
use crate::money::Quantity;
use crate::policy::Policy;
use crate::record::Sku;
use crate::sku::{Billing, billing};
use crate::statement::Correction;
use crate::unbilled::{Telling, WhyNot};
use crate::uploads::{PartId, Status, UploadId};
use crate::usage::{LicenceStep, Usage};

/// Machines that are in no line of ours and may still be on the other side's list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unheard {
    /// Silent for longer than they are presumed to run on.
    pub silent: u64,
    /// Retired.
    pub retired: u64,
    /// Switched off by an order.
    pub switched_off: u64,
    /// None of them was heard from in the last so many days of the month.
    pub days: i64,
}

/// Why a line probably differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    /// The same seats at another price.
    Price,
    /// Our line is in another currency.
    Currency {
        /// Which.
        sealed_in: String,
    },
    /// A correction of the month, on a later statement.
    Corrected {
        /// How many more, or fewer.
        delta: Quantity,
    },
    /// The line was not, or not wholly, settled there when the statement was sent.
    Pending {
        /// How far it has come.
        status: Status,
    },
    /// More seats were set there than were sealed, since more run now.
    SetHigher {
        /// How many.
        quantity: String,
    },
    /// Nobody has said what the line is called there.
    NotMapped,
    /// There is no such line there.
    NotThere,
    /// The licence was suspended since the month began.
    Suspended {
        /// When, for the last time.
        at: Timestamp,
    },
    /// Machines that they still list and nobody heard from.
    Unheard(Unheard),
    /// Nothing is known.
    Unknown,
}

/// What is known beside the two sides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Lines that a mapping names; none: nothing is mapped for that source.
    pub mapped: Option<BTreeSet<Key>>,
    /// How far lines have come that are not settled there.
    pub pending: BTreeMap<Key, Status>,
    /// What was set there of lines.
    pub set: BTreeMap<Key, String>,
    /// When licences were suspended.
    pub suspended: BTreeMap<Key, Timestamp>,
    /// Corrections of the month, carried or still to come.
    pub corrected: BTreeMap<Key, Quantity>,
    /// Machines in no line.
    pub unheard: BTreeMap<Key, Unheard>,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Price => f.write_str("the same seats at another price"),
            Self::Currency { sealed_in } => write!(f, "sealed in {sealed_in}"),
            Self::Corrected { delta } => {
                let sign = if delta.hundredths() > 0 { "+" } else { "" };
                write!(f, "a later statement corrects it by {sign}{delta}")
            }
            Self::Pending { status } => write!(f, "not settled there: {}", status.name()),
            Self::SetHigher { quantity } => {
                write!(f, "{quantity} were set there, as more run than were sealed")
            }
            Self::NotMapped => f.write_str("not mapped: they do not know the line"),
            Self::NotThere => f.write_str("they have no such line"),
            Self::Suspended { at } => write!(f, "its licence was suspended on {at:.0}"),
            Self::Unheard(unheard) => write!(f, "{unheard}"),
            Self::Unknown => f.write_str("not known"),
        }
    }
}

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.silent, "silent"), (self.retired, "retired"), (self.switched_off, "switched off")];
        let told: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        write!(f, "machines in no line: {}", told.join(", "))?;
        if self.days > 0 { write!(f, "; not heard from for {} days", self.days) } else { Ok(()) }
    }
}

/// Why a line probably differs: what is certain first, what merely goes the same way last.
pub fn why(one: &Difference, known: &Known) -> Why {
    let key = (one.customer.clone(), one.sku.clone());
    if let Some(sealed_in) = &one.other_currency {
        return Why::Currency { sealed_in: sealed_in.clone() };
    }
    if one.difference.is_zero() {
        return Why::Price;
    }
    let goes_their_way = |delta: &&Quantity| (delta.hundredths() > 0) == (one.difference.hundredths() > 0);
    let corrected = known.corrected.get(&key).filter(goes_their_way);
    if let Some(delta) = corrected.filter(|delta| **delta == one.difference) {
        return Why::Corrected { delta: *delta };
    }
    if known.mapped.as_ref().is_some_and(|mapped| !mapped.contains(&key)) {
        return Why::NotMapped;
    }
    if let Some(quantity) = known.set.get(&key).filter(|set| set.parse() == Ok(one.sides.theirs)) {
        return Why::SetHigher { quantity: quantity.clone() };
    }
    if let Some(status) = known.pending.get(&key) {
        return Why::Pending { status: *status };
    }
    if !one.is_theirs {
        return Why::NotThere;
    }
    if let Some(at) = known.suspended.get(&key) {
        return Why::Suspended { at: *at };
    }
    if let Some(delta) = corrected {
        return Why::Corrected { delta: *delta };
    }
    match known.unheard.get(&key).filter(|_| one.difference > Quantity::ZERO) {
        Some(unheard) => Why::Unheard(*unheard),
        None => Why::Unknown,
    }
}

impl Known {
    /// What a fold knows of the lines that differ. `revision`: of the sealed statement; `corrections`: of later
    /// statements, sealed or not.
    pub fn gather(
        fold: &Fold,
        against: &Against,
        (revision, policy): (u32, &Policy),
        corrections: &[Correction],
        comparison: &Comparison,
    ) -> Self {
        let keys: BTreeSet<Key> =
            comparison.differences.iter().map(|one| (one.customer.clone(), one.sku.clone())).collect();
        let mut known = Self::default();
        if keys.is_empty() {
            return known;
        }
        if let Source::Destination(name) = &against.source {
            let mapping = fold.mappings().of(name);
            known.mapped = mapping.map(|mapping| mapping.keys().cloned().collect());
        }
        known.note_uploads(fold, against, revision, &keys);
        let first = fold.usage().zone().first_instant(against.period.first_day());
        for key in &keys {
            let steps = fold.usage().licence(&key.0, &key.1);
            let mut since =
                steps.into_iter().flat_map(|steps| steps.range((first, LicenceStep::Suspended)..));
            let suspended = since.rfind(|(_, step)| *step == LicenceStep::Suspended);
            if let Some((at, _)) = suspended {
                known.suspended.insert(key.clone(), *at);
            }
        }
        for correction in corrections.iter().filter(|one| one.for_period == against.period) {
            let sum =
                known.corrected.entry((correction.customer.clone(), correction.sku.clone())).or_default();
            *sum = sum.plus(correction.delta).unwrap_or(*sum);
        }
        known.unheard = unheard(fold.usage(), policy, against.period, &keys);
        known
    }

    fn note_uploads(&mut self, fold: &Fold, against: &Against, revision: u32, keys: &BTreeSet<Key>) {
        let is_it = |id: &UploadId| {
            (id.period, id.distributor.as_str(), id.revision)
                == (against.period, against.distributor.as_str(), revision)
                && match &against.source {
                    Source::Invoice => true,
                    Source::Destination(name) => id.destination == *name,
                }
        };
        for (_, upload) in fold.uploads().iter().filter(|(id, _)| is_it(id)) {
            let is_whole = upload.part(&PartId::Whole).is_some();
            for key in keys {
                let line = PartId::Line(key.0.clone(), key.1.clone());
                let part = upload.part(&line).map(|part| part.last());
                if let Some(answer) = part.filter(|answer| !answer.quantity.is_empty()) {
                    self.set.insert(key.clone(), answer.quantity.clone());
                }
                let status = upload.status_of(if is_whole { &PartId::Whole } else { &line });
                if upload.status() != Status::Settled && status != Status::Settled {
                    self.pending.insert(key.clone(), status);
                }
            }
        }
    }
}

/// Machines of these customers that have these SKUs, are in no line of them, and were not heard from at the end.
fn unheard(usage: &Usage, policy: &Policy, period: Period, keys: &BTreeSet<Key>) -> BTreeMap<Key, Unheard> {
    let (days, names) = (usage.zone().days(period), Names::new(usage));
    let mut found: BTreeMap<Key, Unheard> = BTreeMap::new();
    let Some(mut telling) = Telling::new(usage, policy, period, &days, &[], &names) else { return found };
    let customers: BTreeSet<_> = keys.iter().map(|(customer, _)| customer).collect();
    for machine in names.machines(usage) {
        if !machine.facts.assigned.iter().any(|(_, customer)| customers.contains(customer)) {
            continue;
        }
        for (key, why, silent_for) in not_counted(&mut telling, usage, policy, &machine, &days) {
            let Some(key) = keys.get(&key) else { continue };
            let sum = found.entry(key.clone()).or_insert(Unheard { days: i64::MAX, ..Unheard::default() });
            match why {
                WhyNot::Retired => sum.retired += 1,
                WhyNot::SwitchedOff => sum.switched_off += 1,
                _ => sum.silent += 1,
            }
            sum.days = sum.days.min(silent_for);
        }
    }
    found
}

/// The lines that a machine would be in, had it not fallen silent or been given up: each once, with why, and for how
/// many days it was not heard from.
fn not_counted(
    telling: &mut Telling<'_>,
    usage: &Usage,
    policy: &Policy,
    machine: &Machine<'_>,
    days: &[UsageDay],
) -> Vec<(Key, WhyNot, i64)> {
    let Some(last) = days.last() else { return Vec::new() };
    let told = telling.machine(machine);
    let heard = machine.facts.attendance.reported_days().last_before(last.day.plus(1));
    let silent_for = heard.map_or(0, |day| last.day.days_since(day));
    let mut lines: BTreeMap<Key, WhyNot> = BTreeMap::new();
    for row in &told.reasons {
        if !matches!(row.reason, WhyNot::WentSilent | WhyNot::Retired | WhyNot::SwitchedOff) {
            continue;
        }
        let (Some(customer), Some(product)) = (&row.customer, &row.product) else { continue };
        let Billing::Sku(sku) = billing(usage, policy, customer, product, last.end) else { continue };
        lines.entry((customer.clone(), Sku::clone(sku))).or_insert(row.reason);
    }
    let counted =
        |key: &Key| told.seats.iter().any(|(seat, _)| (&seat.customer, &seat.sku) == (&key.0, &key.1));
    lines.into_iter().filter(|(key, _)| !counted(key)).map(|(key, why)| (key, why, silent_for)).collect()
}

#[cfg(test)]
mod tests;
