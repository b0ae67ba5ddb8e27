//! The variance: why a statement's lines differ from those of the period before.
//! Invariant: the parts of a line add up to its difference exactly; what no part explains is a rounding of the rule.
//!
//! Read from the sealed statement to this one in three steps: the period before as it is known now (merged and
//! parted machines, corrections), the same by this period's policy (policy), and from there machine by machine.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, MachineId, ProductId};
use serde::{Deserialize, Serialize};

use crate::RULES_VERSION;
use crate::body::{SealedBody, newest_revisions};
use crate::calendar::{Day, Period, UsageDay};
use crate::close::{CloseError, CloseInput, begun_days, priced_lines, seats};
use crate::counts::Counter;
use crate::machines::Names;
use crate::money::{Quantity, TooLarge};
use crate::owner::owner_of_day;
use crate::policy::{Count, Policy};
use crate::presence::{Presence, presence};
use crate::record::Sku;
use crate::seats::{CountedDay, Seats};
use crate::sku::{Billing, billing};
use crate::statement::Line;
use crate::usage::{Bond, LicenceStep, MachineFacts, Switch, Usage};

/// Why seats came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Machines that were not there, or not running it, on the days that counted.
    New,
    /// Machines that are not there any more, or not running it on the days that count.
    Gone,
    /// Agents joined in one machine, or parted, since the period before was sealed.
    Merged,
    /// Machines that came from or went to another customer.
    Moved,
    /// An order to switch off was carried out.
    SwitchedOff,
    /// An order to switch on was carried out.
    SwitchedOn,
    /// The licence was suspended, or resumed.
    Suspended,
    /// Units declared by hand.
    Declared,
    /// Other rules or zone data than the sealed statement's, and roundings of averages.
    Rule,
    /// Another policy: count, filters, mapping of products.
    Policy,
    /// Adjustments, and evidence that came after the seal (corrections carry its cost).
    Correction,
}

impl Part {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Merged => "merged",
            Self::Moved => "moved",
            Self::SwitchedOff => "switched off",
            Self::SwitchedOn => "switched on",
            Self::Suspended => "suspended",
            Self::Declared => "declared",
            Self::Rule => "rule",
            Self::Policy => "policy",
            Self::Correction => "correction",
        }
    }
}

/// A line's difference to the period before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VarianceRow {
    /// Whose seats.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// As sealed for the period before; 0 without a line.
    pub before: Quantity,
    /// As it is now; 0 without a line.
    pub after: Quantity,
    /// The difference, split; parts of nothing are left out.
    pub parts: BTreeMap<Part, Quantity>,
}

type Key = (CustomerId, Sku);

/// The differences of `lines`, those of the closed `input`, to the sealed statement of the period before; sorted,
/// lines without a difference left out. `None` when that period was never sealed. `sealed_at`: when it was.
///
/// # Errors
/// As those of a close.
pub fn variance(
    input: &CloseInput<'_>,
    lines: &[Line],
    sealed_at: Timestamp,
) -> Result<Option<Vec<VarianceRow>>, CloseError> {
    let period = input.period.previous();
    let bodies = newest_revisions(input.sealed);
    let sealed: Vec<&SealedBody> = bodies.into_iter().filter(|body| body.period == period).collect();
    if sealed.is_empty() {
        return Ok(None);
    }
    let sealed_policy = sealed.iter().find_map(|body| body.policy.as_ref()).unwrap_or(input.policy);
    let usage = input.usage_in(&input.policy.zone)?;
    let recounted = priced_lines(input.usage_in(&sealed_policy.zone)?, sealed_policy, period, input.as_of)?.0;
    let repoliced = priced_lines(usage, input.policy, period, input.as_of)?.0;
    let steps = Steps {
        sealed: sealed.iter().flat_map(|body| &body.lines).fold(BTreeMap::new(), |mut all, line| {
            all.insert((line.customer.clone(), line.sku.clone()), line.quantity);
            all
        }),
        recounted: by_key(&recounted),
        repoliced: by_key(&repoliced),
        now: by_key(lines),
        by_other_rules: sealed.iter().any(|body| {
            body.rules_version.is_some_and(|version| version != RULES_VERSION)
                || body.zone_data.as_ref().is_some_and(|data| *data != crate::zone_data_version())
        }),
    };
    let months = Months::new(usage, input, sealed_at);
    let keys: BTreeSet<&Key> = steps
        .sealed
        .keys()
        .chain(steps.recounted.keys())
        .chain(steps.repoliced.keys())
        .chain(steps.now.keys())
        .collect();
    let mut rows = Vec::new();
    for key in keys {
        let row = steps.row(key, &months)?;
        if row.before != row.after {
            rows.push(row);
        }
    }
    Ok(Some(rows))
}

fn by_key(lines: &[Line]) -> BTreeMap<Key, &Line> {
    lines.iter().map(|line| ((line.customer.clone(), line.sku.clone()), line)).collect()
}

/// The lines on the way from the sealed statement to this one.
struct Steps<'a> {
    sealed: BTreeMap<Key, Quantity>,
    recounted: BTreeMap<Key, &'a Line>,
    repoliced: BTreeMap<Key, &'a Line>,
    now: BTreeMap<Key, &'a Line>,
    by_other_rules: bool,
}

/// Parts of one line, as they are found.
#[derive(Default)]
struct Parts(BTreeMap<Part, Quantity>);

impl Parts {
    fn add(&mut self, part: Part, quantity: Quantity) -> Result<(), TooLarge> {
        let sum = self.0.entry(part).or_default();
        *sum = sum.plus(quantity)?;
        Ok(())
    }

    fn sum(&self) -> Result<Quantity, TooLarge> {
        self.0.values().try_fold(Quantity::ZERO, |sum, part| sum.plus(*part))
    }
}

impl Steps<'_> {
    fn row(&self, key: &Key, months: &Months<'_>) -> Result<VarianceRow, CloseError> {
        let quantity =
            |lines: &BTreeMap<Key, &Line>| lines.get(key).map_or(Quantity::ZERO, |line| line.quantity);
        let before = self.sealed.get(key).copied().unwrap_or_default();
        let (recounted, repoliced, after) =
            (quantity(&self.recounted), quantity(&self.repoliced), quantity(&self.now));
        let mut parts = Parts::default();
        let late = recounted.minus(before)?;
        let merged = if late.is_zero() { Quantity::ZERO } else { months.merged_since(key, late) };
        parts.add(Part::Merged, merged)?;
        let otherwise = if self.by_other_rules { Part::Rule } else { Part::Correction };
        parts.add(otherwise, late.minus(merged)?)?;
        parts.add(Part::Policy, repoliced.minus(recounted)?)?;
        let by_hand = |field: fn(&Line) -> Quantity| -> Result<Quantity, TooLarge> {
            let of = |lines: &BTreeMap<Key, &Line>| lines.get(key).map_or(Quantity::ZERO, |line| field(line));
            of(&self.now).minus(of(&self.repoliced))
        };
        parts.add(Part::Declared, by_hand(|line| line.declared)?)?;
        parts.add(Part::Correction, by_hand(|line| line.adjusted)?)?;
        months.add_machines(key, &mut parts)?;
        // An average is rounded once for all machines and not for each; a quantity is never below 0.
        parts.add(Part::Rule, after.minus(before)?.minus(parts.sum()?)?)?;
        parts.0.retain(|_, quantity| !quantity.is_zero());
        Ok(VarianceRow { customer: key.0.clone(), sku: key.1.clone(), before, after, parts: parts.0 })
    }
}

/// Two months by the same policy, machine by machine.
struct Months<'a> {
    usage: &'a Usage,
    policy: &'a Policy,
    names: Names,
    before: Month,
    now: Month,
    /// Pairs decided upon since the period before was sealed.
    rebound: Vec<(&'a MachineId, &'a MachineId, Bond)>,
}

struct Month {
    days: Vec<UsageDay>,
    month_days: usize,
    seats: Seats,
}

impl Month {
    fn of(usage: &Usage, policy: &Policy, period: Period, as_of: Option<Timestamp>) -> Self {
        let (days, month_days) = (begun_days(usage, period, as_of), usage.zone().days(period).len());
        Self { days, month_days, seats: seats(usage, policy, period, as_of) }
    }

    fn machines(&self, key: &Key) -> Option<&BTreeMap<MachineId, Vec<CountedDay>>> {
        self.seats.get(key)
    }

    /// What each machine adds to the measured quantity.
    fn shares(&self, key: &Key, count: Count) -> BTreeMap<&MachineId, Quantity> {
        let Some(machines) = self.machines(key) else { return BTreeMap::new() };
        let on = |day: Option<Day>| {
            machines
                .iter()
                .filter(|(_, days)| days.iter().any(|counted| Some(counted.day) == day))
                .map(|(id, _)| (id, Quantity::units(1)))
                .collect()
        };
        match count {
            Count::HighWater => {
                let first = self.days.first().map_or(Day::numbered(0), |day| day.day);
                let counter = Counter::of(first, machines.values());
                on(crate::quantity::measure(count, &counter, &self.days, self.month_days).day)
            }
            Count::MonthEnd => on(self.days.last().map(|day| day.day)),
            Count::Distinct => machines.keys().map(|id| (id, Quantity::units(1))).collect(),
            Count::Average => machines
                .iter()
                .map(|(id, days)| (id, Quantity::average(days.len() as u64, self.month_days as u64)))
                .collect(),
        }
    }
}

impl<'a> Months<'a> {
    fn new(usage: &'a Usage, input: &CloseInput<'a>, sealed_at: Timestamp) -> Self {
        Self {
            usage,
            policy: input.policy,
            names: Names::new(usage),
            before: Month::of(usage, input.policy, input.period.previous(), input.as_of),
            now: Month::of(usage, input.policy, input.period, input.as_of),
            rebound: usage.bonds_since(sealed_at).collect(),
        }
    }

    /// How much of a recount's difference joined and parted agents explain: at most all of it.
    fn merged_since(&self, key: &Key, late: Quantity) -> Quantity {
        let counted = |agent: &MachineId| {
            let Some(facts) = self.usage.machines().get(agent) else { return false };
            self.before.days.iter().any(|day| {
                let found = crate::machine_day::machine_day(self.usage, self.policy, facts, day);
                found.owner.as_ref() == Some(&key.0) && found.seats.contains_key(&key.1)
            })
        };
        let pairs = self.rebound.iter().filter(|(one, other, _)| counted(one) && counted(other));
        let (mut fewer, mut more) = (0i64, 0i64);
        for (_, _, bond) in pairs {
            match bond {
                Bond::Merged => fewer += 1,
                Bond::Split => more += 1,
            }
        }
        if late < Quantity::ZERO {
            Quantity::units(-fewer).max(late).min(Quantity::ZERO)
        } else {
            Quantity::units(more).min(late).max(Quantity::ZERO)
        }
    }

    fn add_machines(&self, key: &Key, parts: &mut Parts) -> Result<(), TooLarge> {
        let count = self.policy.rule(&key.1).count;
        let (before, now) = (self.before.shares(key, count), self.now.shares(key, count));
        let machines: BTreeSet<&MachineId> = before.keys().chain(now.keys()).copied().collect();
        for id in machines {
            let share = |shares: &BTreeMap<&MachineId, Quantity>| shares.get(id).copied().unwrap_or_default();
            let change = share(&now).minus(share(&before))?;
            if change.is_zero() {
                continue;
            }
            let Some(machine) = self.names.machine(self.usage, id) else { continue };
            let part = if change < Quantity::ZERO {
                self.why_fewer(key, id, &machine.facts)
            } else {
                self.why_more(key, id, &machine.facts)
            };
            parts.add(part, change)?;
        }
        Ok(())
    }

    fn why_fewer(&self, key: &Key, id: &MachineId, facts: &MachineFacts) -> Part {
        let (customer, sku) = key;
        let counted = self.before.machines(key).and_then(|machines| machines.get(id));
        let last = counted.and_then(|days| days.last()).and_then(|last| day_in(&self.before.days, last.day));
        let (Some(last), Some(end)) = (last, self.now.days.last()) else { return Part::Gone };
        let products = self.products(facts, customer, sku, last);
        if owner_of_day(facts, end).is_some_and(|owner| owner != customer) {
            Part::Moved
        } else if products.iter().any(|product| latest_switch(facts, product, end.end) == Some(Switch::Off)) {
            Part::SwitchedOff
        } else if self.licence_step(key, end.end).is_some_and(|(_, step)| step == LicenceStep::Suspended) {
            Part::Suspended
        } else if self.is_billed_otherwise(facts, key, &products, &self.now.days) {
            Part::Policy
        } else {
            Part::Gone
        }
    }

    fn why_more(&self, key: &Key, id: &MachineId, facts: &MachineFacts) -> Part {
        let (customer, sku) = key;
        let counted = self.now.machines(key).and_then(|machines| machines.get(id));
        let first = counted.and_then(|days| days.first()).and_then(|first| day_in(&self.now.days, first.day));
        let (Some(first), Some(end)) = (first, self.before.days.last()) else { return Part::New };
        let since = self.before.days[0].first;
        let products = self.products(facts, customer, sku, first);
        let was_resumed = |(at, step): (Timestamp, LicenceStep)| step == LicenceStep::Resumed && at >= since;
        if owner_of_day(facts, end).is_some_and(|owner| owner != customer) && self.was_there(facts) {
            Part::Moved
        } else if products.iter().any(|product| was_switched_on(facts, product, since, first.end)) {
            Part::SwitchedOn
        } else if self.licence_step(key, first.end).is_some_and(was_resumed) {
            Part::Suspended
        } else if self.is_billed_otherwise(facts, key, &products, &self.before.days) {
            Part::Policy
        } else {
            Part::New
        }
    }

    fn was_there(&self, facts: &MachineFacts) -> bool {
        let Some(end) = self.before.days.last() else { return false };
        facts.assigned.first().is_some_and(|(at, _)| *at < end.end)
    }

    /// The machine's products that are billed as this SKU, alone or in a suite.
    fn products(
        &self,
        facts: &MachineFacts,
        customer: &CustomerId,
        sku: &Sku,
        day: &UsageDay,
    ) -> BTreeSet<ProductId> {
        let is_it = |product: &ProductId| {
            billing(self.usage, self.policy, customer, product, day.end) == Billing::Sku(sku)
        };
        let suites = self.policy.suite.iter().filter(|(suite, _)| is_it(suite));
        let in_suites: BTreeSet<&ProductId> = suites.flat_map(|(_, suite)| &suite.products).collect();
        let known = facts.attendance.products();
        known.filter(|product| is_it(product) || in_suites.contains(product)).cloned().collect()
    }

    /// Whether one of these products was in use on such a day and billed as something else.
    fn is_billed_otherwise(
        &self,
        facts: &MachineFacts,
        (customer, sku): &Key,
        products: &BTreeSet<ProductId>,
        days: &[UsageDay],
    ) -> bool {
        days.iter().any(|day| {
            products.iter().any(|product| {
                let used = presence(facts, product, day, self.policy.presume_days);
                matches!(used, Presence::Confirmed | Presence::Presumed)
                    && billing(self.usage, self.policy, customer, product, day.end) != Billing::Sku(sku)
            })
        })
    }

    fn licence_step(&self, (customer, sku): &Key, end: Timestamp) -> Option<(Timestamp, LicenceStep)> {
        let steps = self.usage.licence(customer, sku)?;
        steps.range(..(end, LicenceStep::Suspended)).next_back().copied()
    }
}

fn day_in(days: &[UsageDay], day: Day) -> Option<&UsageDay> {
    days.iter().find(|known| known.day == day)
}

fn latest_switch(facts: &MachineFacts, product: &ProductId, end: Timestamp) -> Option<Switch> {
    let switches = facts.switches.get(product)?;
    switches.range(..(end, Switch::Off)).next_back().map(|(_, switch)| *switch)
}

fn was_switched_on(facts: &MachineFacts, product: &ProductId, since: Timestamp, end: Timestamp) -> bool {
    let Some(switches) = facts.switches.get(product) else { return false };
    let latest = switches.range(..(end, Switch::Off)).next_back();
    latest.is_some_and(|(at, switch)| *switch == Switch::On && *at >= since)
}

#[cfg(test)]
mod tests;
