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
        let mut counts = Self::default();
        let Some(month) = MonthDays::of(days) else { return counts };
        let mut counting = Counting::new(usage, policy, period, month);
        for machine in names.machines(usage) {
            counts.add(counting.machine(&machine));
        }
        counts
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
