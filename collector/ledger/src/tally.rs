//! Rule 10 over machines that come one by one, each with its days as a set.
//! Invariant: the same as [`crate::quantity::measure`] over the same machines, in memory for one month.

use std::cmp::Reverse;

use crate::bundle::marks::DaySet;
use crate::calendar::{Period, UsageDay};
use crate::money::Quantity;
use crate::policy::Count;
use crate::quantity::Measured;

/// Seats of a line, day by day.
#[derive(Debug, Clone)]
pub struct Tally {
    period: Period,
    /// Seats and confirmed ones of each day of the month.
    days: [(u64, u64); 31],
    machines: u64,
    confirmed_machines: u64,
}

impl Tally {
    /// Of no machine yet.
    pub fn new(period: Period) -> Self {
        Self { period, days: [(0, 0); 31], machines: 0, confirmed_machines: 0 }
    }

    /// Adds a machine's counted days.
    pub fn add(&mut self, confirmed: DaySet, presumed: DaySet) {
        self.machines += 1;
        self.confirmed_machines += u64::from(!confirmed.is_empty());
        for day in confirmed.union(presumed).days(self.period) {
            let is_confirmed = confirmed.contains(self.period, day);
            if let Some((seats, seen)) = self.level(day.days_since(self.period.first_day())) {
                (*seats, *seen) = (*seats + 1, *seen + u64::from(is_confirmed));
            }
        }
    }

    fn level(&mut self, index: i64) -> Option<&mut (u64, u64)> {
        self.days.get_mut(usize::try_from(index).ok()?)
    }

    /// How many machines it counts.
    pub fn machines(&self) -> u64 {
        self.machines
    }

    /// What they make by a count; `days` are the days of the month.
    pub fn measure(&self, count: Count, days: &[UsageDay]) -> Measured {
        let whole = |confirmed, total| Measured {
            confirmed: Quantity::units(confirmed),
            total: Quantity::units(total),
            day: None,
        };
        let first = self.period.first_day();
        match count {
            Count::HighWater => {
                let levels = (0i32..).zip(&self.days).filter(|(_, (seats, _))| *seats > 0);
                match levels.max_by_key(|(index, level)| (**level, Reverse(*index))) {
                    Some((index, (seats, confirmed))) => {
                        Measured { day: Some(first.plus(index)), ..whole(*confirmed, *seats) }
                    }
                    None => Measured::default(),
                }
            }
            Count::Distinct => whole(self.confirmed_machines, self.machines),
            Count::MonthEnd => {
                let last = days.last().and_then(|day| usize::try_from(day.day.days_since(first)).ok());
                let (seats, confirmed) =
                    last.and_then(|index| self.days.get(index)).copied().unwrap_or_default();
                whole(confirmed, seats)
            }
            Count::Average => {
                let sum = |of: fn(&(u64, u64)) -> u64| self.days.iter().map(of).sum();
                Measured {
                    confirmed: Quantity::average(sum(|day| day.1), days.len() as u64),
                    total: Quantity::average(sum(|day| day.0), days.len() as u64),
                    day: None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::calendar::Zone;
    use crate::counts::Counter;
    use crate::quantity::measure;
    use crate::seats::CountedDay;

    /// Days from a number, without a generator: any will do.
    fn scattered(seed: u64) -> u32 {
        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u32
    }

    #[test]
    fn machines_one_by_one_measure_as_all_at_once() {
        let period: Period = "2026-02".parse().unwrap();
        for zone in ["UTC", "Europe/Berlin"] {
            let days = Zone::named(zone).unwrap().days(period);
            let month: DaySet = DaySet::of(period, days.iter().map(|day| day.day));
            for fleet in 0..60u64 {
                let (mut tally, mut machines) = (Tally::new(period), BTreeMap::new());
                for machine in 0..fleet % 9 {
                    let bits =
                        |more| serde_json::from_value(scattered(fleet * 31 + machine * 7 + more).into());
                    let some: DaySet = bits(0).unwrap();
                    let other: DaySet = bits(3).unwrap();
                    let (confirmed, presumed) = (some.common(month), other.without(some).common(month));
                    if confirmed.union(presumed).is_empty() {
                        continue;
                    }
                    tally.add(confirmed, presumed);
                    let counted = confirmed.union(presumed).days(period);
                    let counted =
                        counted.map(|day| CountedDay { day, confirmed: confirmed.contains(period, day) });
                    machines.insert(machine, counted.collect::<Vec<_>>());
                }
                for count in [Count::HighWater, Count::Distinct, Count::MonthEnd, Count::Average] {
                    let all = Counter::of(days[0].day, machines.values());
                    let expected = measure(count, &all, &days, days.len());
                    assert_eq!(tally.measure(count, &days), expected, "{count:?} of fleet {fleet}");
                }
            }
        }
    }
}
