//! Rules 10 and 11: from seats to quantities, and what is declared and adjusted on top.
//! Invariant: confirmed and presumed add up to measured; a quantity is never below 0.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::{CustomerId, MachineId};

use crate::calendar::{Day, Period, UsageDay};
use crate::findings::Findings;
use crate::money::{Quantity, TooLarge};
use crate::policy::{Count, Policy};
use crate::record::Sku;
use crate::seats::{CountedDay, Seats};
use crate::statement::{Blocker, Line};
use crate::usage::Usage;

/// What agents saw of a (customer, SKU) in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// The part that was seen.
    pub confirmed: Quantity,
    /// Both parts.
    pub total: Quantity,
    /// The day of the high water.
    pub day: Option<Day>,
}

/// Measures seats by a SKU's count; `days` are the begun days of a month of `month_days` days.
pub fn measure(
    count: Count,
    machines: &BTreeMap<MachineId, Vec<CountedDay>>,
    days: &[UsageDay],
    month_days: usize,
) -> Measured {
    let counted = || machines.values().flatten();
    match count {
        Count::HighWater => {
            let mut water: BTreeMap<Day, (u64, u64)> = BTreeMap::new();
            for seat in counted() {
                let (seats, confirmed) = water.entry(seat.day).or_default();
                (*seats, *confirmed) = (*seats + 1, *confirmed + u64::from(seat.confirmed));
            }
            let highest = water.into_iter().max_by_key(|(day, level)| (*level, Reverse(*day)));
            let Some((day, (seats, confirmed))) = highest else { return Measured::default() };
            Measured { day: Some(day), ..whole(confirmed, seats) }
        }
        Count::Distinct => {
            let confirmed = machines.values().filter(|days| days.iter().any(|day| day.confirmed)).count();
            whole(confirmed as u64, machines.len() as u64)
        }
        Count::MonthEnd => {
            let last = days.last().map(|day| day.day);
            let on_last = || counted().filter(|seat| Some(seat.day) == last);
            whole(on_last().filter(|seat| seat.confirmed).count() as u64, on_last().count() as u64)
        }
        Count::Average => {
            let confirmed = counted().filter(|seat| seat.confirmed).count() as u64;
            let month_days = month_days as u64;
            Measured {
                confirmed: Quantity::average(confirmed, month_days),
                total: Quantity::average(counted().count() as u64, month_days),
                day: None,
            }
        }
    }
}

fn whole(confirmed: u64, total: u64) -> Measured {
    Measured { confirmed: Quantity::units(confirmed), total: Quantity::units(total), day: None }
}

/// The lines of a period, sorted, without prices.
pub fn lines(
    usage: &Usage,
    policy: &Policy,
    period: Period,
    days: &[UsageDay],
    seats: &Seats,
    findings: &mut Findings,
) -> Result<Vec<Line>, TooLarge> {
    let (declared, adjusted) = (usage.declared(period), usage.adjusted(period));
    findings.note_declared_missing(&usage.declared(period.previous()), &declared);
    let month_days = usage.zone().days(period).len();
    let keys: BTreeSet<&(CustomerId, Sku)> =
        seats.keys().chain(declared.keys()).chain(adjusted.keys()).collect();
    let nobody = BTreeMap::new();
    let mut lines = Vec::new();
    for key in keys {
        let (customer, sku) = key;
        let count = policy.rule(sku).count;
        let measured = measure(count, seats.get(key).unwrap_or(&nobody), days, month_days);
        let declared = Quantity::units(declared.get(key).copied().unwrap_or(0));
        let adjusted = Quantity::units(adjusted.get(key).copied().unwrap_or(0));
        if measured.total.is_zero() && declared.is_zero() && adjusted.is_zero() {
            continue;
        }
        let sum = measured.total.plus(declared)?.plus(adjusted)?;
        if sum < Quantity::ZERO {
            findings.blockers.insert(Blocker::negative_quantity(customer, sku));
        }
        lines.push(Line {
            customer: customer.clone(),
            sku: sku.clone(),
            count,
            day: measured.day.map(Day::date),
            confirmed: measured.confirmed,
            presumed: measured.total.minus(measured.confirmed)?,
            measured: measured.total,
            declared,
            adjusted,
            quantity: sum.max(Quantity::ZERO),
            price: None,
        });
    }
    Ok(lines)
}
