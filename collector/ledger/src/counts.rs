//! Sums over machines: what lines are measured from. Invariant: adding a machine's count and removing it again leaves
//! everything as it was, so sums that are kept up to date equal sums made anew.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::{CustomerId, MachineId, ProductId};

use crate::calendar::{Day, MonthDays, Period, UsageDay};
use crate::findings::{DayRange, Findings};
use crate::machines::Names;
use crate::policy::Policy;
use crate::record::Sku;
use crate::seats::{CountedDay, Counting, MachineCount, Seat, Seats};
use crate::statement::{Blocker, Flag};
use crate::usage::Usage;

/// Machines from which on a month is counted in several threads, and how many those are: fewer take a tenth of a second,
/// and a desk's machine has four cores.
const MACHINES_MANY: usize = 20_000;
const THREADS: usize = 4;

/// Most days of a month.
pub const DAYS_MAX: usize = 31;

/// The seats of a (customer, SKU).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// By day, from the period's first on.
    pub seats: [u32; DAYS_MAX],
    /// Those of them that were seen.
    pub confirmed: [u32; DAYS_MAX],
    /// Machines with a counted day.
    pub machines: u32,
    /// Those that were seen on one.
    pub confirmed_machines: u32,
}

/// What a period's machines amount to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    lines: BTreeMap<CustomerId, BTreeMap<Sku, Box<Counter>>>,
    /// By the customer, if one is named, and the machine that they speak of.
    flags: BTreeMap<(Option<CustomerId>, Option<MachineId>), BTreeSet<Flag>>,
    flag_count: usize,
    blockers: BTreeSet<Blocker>,
    /// How many machines use a customer's product of which nobody said what it is billed as.
    unmapped: BTreeMap<(CustomerId, ProductId), u32>,
}

impl Default for Counter {
    fn default() -> Self {
        Self { seats: [0; DAYS_MAX], confirmed: [0; DAYS_MAX], machines: 0, confirmed_machines: 0 }
    }
}

impl Counter {
    /// The sum over machines with these counted days, in a period that begins on `first`.
    pub fn of<'a>(first: Day, machines: impl Iterator<Item = &'a Vec<CountedDay>>) -> Self {
        let mut counter = Self::default();
        for days in machines {
            let bit = |day: &CountedDay| 1 << day.day.days_since(first);
            let counted = days.iter().map(bit).fold(0, |all, bit: u32| all | bit);
            let confirmed =
                days.iter().filter(|day| day.confirmed).map(bit).fold(0, |all, bit: u32| all | bit);
            counter.change(counted, confirmed, |count| *count += 1);
        }
        counter
    }

    fn add(&mut self, other: &Self) {
        let days = self.seats.iter_mut().zip(&other.seats);
        days.chain(self.confirmed.iter_mut().zip(&other.confirmed)).for_each(|(all, part)| *all += part);
        self.machines += other.machines;
        self.confirmed_machines += other.confirmed_machines;
    }

    fn change(&mut self, counted: u32, confirmed: u32, by: impl Fn(&mut u32)) {
        by(&mut self.machines);
        if confirmed != 0 {
            by(&mut self.confirmed_machines);
        }
        for (days, counts) in [(counted, &mut self.seats), (confirmed, &mut self.confirmed)] {
            let mut left = days;
            while left != 0 {
                if let Some(count) = counts.get_mut(left.trailing_zeros() as usize) {
                    by(count);
                }
                left &= left - 1;
            }
        }
    }
}

impl Counts {
    /// Counts all machines over a month.
    pub fn of(usage: &Usage, policy: &Policy, period: Period, days: &[UsageDay], names: &Names) -> Self {
        let parts = if usage.machines().len() < MACHINES_MANY { 1 } else { THREADS };
        MonthDays::of(days)
            .map(|month| Self::in_parts(usage, policy, period, month, names, parts))
            .unwrap_or_default()
    }

    /// Counts parts of the machines beside each other.
    fn in_parts(
        usage: &Usage,
        policy: &Policy,
        period: Period,
        month: MonthDays<'_>,
        names: &Names,
        parts: usize,
    ) -> Self {
        let of_part = |part| {
            let (mut counts, mut counting) = (Self::default(), Counting::new(usage, policy, period, month));
            for machine in names.part_of_machines(usage, part, parts) {
                counts.add(counting.machine(&machine));
            }
            counts
        };
        let of_part = &of_part;
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..parts).map(|part| scope.spawn(move || of_part(part))).collect();
            let mut all = of_part(0);
            for other in others {
                all.absorb(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all
        })
    }

    /// Adds what other machines amount to.
    fn absorb(&mut self, other: Self) {
        for (customer, skus) in other.lines {
            for (sku, counter) in skus {
                self.counter(&customer, &sku).add(&counter);
            }
        }
        for (place, flags) in other.flags {
            let all = self.flags.entry(place).or_default();
            self.flag_count += flags.into_iter().filter(|flag| all.insert(flag.clone())).count();
        }
        self.blockers.extend(other.blockers);
        for (unmapped, machines) in other.unmapped {
            *self.unmapped.entry(unmapped).or_default() += machines;
        }
    }

    /// Adds what a machine amounts to.
    pub fn add(&mut self, machine: MachineCount) {
        for seat in &machine.seats {
            self.counter(&seat.customer, &seat.sku).change(seat.counted, seat.confirmed, |count| *count += 1);
        }
        for flag in machine.flags {
            self.flag_count += usize::from(self.flags.entry(place(&flag)).or_default().insert(flag));
        }
        self.blockers.extend(machine.blockers);
        for unmapped in machine.unmapped {
            *self.unmapped.entry(unmapped).or_default() += 1;
        }
    }

    /// Takes away what a machine amounted to when it was added.
    pub fn remove(&mut self, machine: &MachineCount) {
        for seat in &machine.seats {
            let counter = self.counter(&seat.customer, &seat.sku);
            counter.change(seat.counted, seat.confirmed, |count| *count -= 1);
            if counter.machines == 0
                && let Some(skus) = self.lines.get_mut(&seat.customer)
            {
                skus.remove(&seat.sku);
                if skus.is_empty() {
                    self.lines.remove(&seat.customer);
                }
            }
        }
        for flag in &machine.flags {
            let place = place(flag);
            if let Some(flags) = self.flags.get_mut(&place) {
                self.flag_count -= usize::from(flags.remove(flag));
                if flags.is_empty() {
                    self.flags.remove(&place);
                }
            }
        }
        machine.blockers.iter().for_each(|blocker| _ = self.blockers.remove(blocker));
        for unmapped in &machine.unmapped {
            if let Some(count) = self.unmapped.get_mut(unmapped) {
                *count -= 1;
                if *count == 0 {
                    self.unmapped.remove(unmapped);
                }
            }
        }
    }

    fn counter(&mut self, customer: &CustomerId, sku: &Sku) -> &mut Counter {
        self.lines.entry(customer.clone()).or_default().entry(sku.clone()).or_default()
    }

    /// The seats of each customer and SKU, in order.
    pub fn lines(&self) -> impl Iterator<Item = (&CustomerId, &Sku, &Counter)> {
        self.lines
            .iter()
            .flat_map(|(customer, skus)| skus.iter().map(move |(sku, counter)| (customer, sku, &**counter)))
    }

    /// The seats of a customer's SKU.
    pub fn line(&self, customer: &CustomerId, sku: &Sku) -> Option<&Counter> {
        self.lines.get(customer)?.get(sku).map(|counter| &**counter)
    }

    /// What is to be looked at of machines.
    pub fn flags(&self) -> impl Iterator<Item = &Flag> {
        self.flags.values().flatten()
    }

    /// How many those are.
    pub fn flag_count(&self) -> usize {
        self.flag_count
    }

    /// What is to be looked at of a machine, by its joined id, where no customer is named.
    pub fn flags_of(&self, machine: &MachineId) -> impl Iterator<Item = &Flag> {
        self.flags.get(&(None, Some(machine.clone()))).into_iter().flatten()
    }

    /// What is to be looked at of machines, where this customer is named.
    pub fn flags_naming(&self, customer: &CustomerId) -> impl Iterator<Item = &Flag> {
        let customer = Some(customer.clone());
        let from = self.flags.range((customer.clone(), None)..);
        from.take_while(move |((of, _), _)| *of == customer).flat_map(|(_, flags)| flags)
    }

    /// What there is to say beside the lines; without the flags of machines, of which there may be as many as these.
    pub fn findings(&self, usage: &Usage, names: &Names, days: &[UsageDay]) -> Findings {
        let mut findings = Findings { blockers: self.blockers.clone(), ..Findings::default() };
        let unmapped = self.unmapped.keys();
        findings
            .blockers
            .extend(unmapped.map(|(customer, product)| Blocker::unmapped_product(customer, product)));
        if let Some(range) = DayRange::of(days) {
            findings.note_rejected(usage, names, range);
        }
        findings
    }
}

/// The seats of all machines with the days of each: what lines rest on.
pub fn seats(usage: &Usage, policy: &Policy, period: Period, days: &[UsageDay]) -> Seats {
    let mut seats = Seats::new();
    let Some(month) = MonthDays::of(days) else { return seats };
    let names = Names::new(usage);
    let mut counting = Counting::new(usage, policy, period, month);
    for machine in names.machines(usage) {
        for seat in counting.machine(&machine).seats {
            let days = counted_days(month.first(), &seat);
            seats.entry((seat.customer, seat.sku)).or_default().insert(machine.id.clone(), days);
        }
    }
    seats
}

/// The seats of one machine: why it is counted, and where.
pub fn seats_of(
    usage: &Usage,
    policy: &Policy,
    period: Period,
    days: &[UsageDay],
    agent: &MachineId,
) -> MachineCount {
    let names = Names::new(usage);
    let machine = names.machine(usage, names.of(agent));
    let (Some(month), Some(machine)) = (MonthDays::of(days), machine) else { return MachineCount::default() };
    Counting::new(usage, policy, period, month).machine(&machine)
}

fn place(flag: &Flag) -> (Option<CustomerId>, Option<MachineId>) {
    (flag.customer.clone(), flag.machine.clone())
}

fn counted_days(first: Day, seat: &Seat) -> Vec<CountedDay> {
    let counted = (0..DAYS_MAX as i32).filter(|away| seat.counted >> away & 1 == 1);
    counted
        .map(|away| CountedDay { day: first.plus(away), confirmed: seat.confirmed >> away & 1 == 1 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::begun_days;
    use crate::record::Record;
    use crate::record_set::RecordSet;
    use crate::scenario::Scenario;

    #[test]
    fn parts_counted_beside_each_other_are_the_whole() {
        let mut scenario = Scenario::bare().policy("presume_days = 2\n[default_sku]\na = \"A\"\nb = \"B\"");
        for number in 0..150usize {
            let machine = format!("m{number:03}");
            let customer = ["acme", "bell", "core"][number % 3];
            let products = ["a", "a b", "b", "x", "a?", ""][number / 3 % 6];
            let day = i32::try_from(1 + number % 20).unwrap();
            scenario = scenario.assigned("09-01 00:00", &machine, customer).reports(
                &machine,
                [day, day + 4],
                products,
            );
            if number % 7 == 1 {
                scenario =
                    scenario.machines("merged", "10-15 00:00", &format!("m{:03}", number - 1), &machine);
            }
        }
        let policy = scenario.parsed_policy();
        let usage =
            RecordSet::new(Record::parse_jsonl(scenario.records()).unwrap(), None).usage(&policy.zone);
        let (period, names) = ("2026-10".parse().unwrap(), Names::new(&usage));
        let days = begun_days(&usage, period, None);
        let month = MonthDays::of(&days).unwrap();
        let counted = |parts| Counts::in_parts(&usage, &policy, period, month, &names, parts);
        let whole = counted(1);
        assert!(whole.lines().count() > 5 && whole.flag_count() > 5 && !whole.unmapped.is_empty());
        for parts in 2..6 {
            assert_eq!(counted(parts), whole, "{parts} parts");
        }
        assert_eq!(Counts::of(&usage, &policy, period, &days, &names), whole);
    }
}
