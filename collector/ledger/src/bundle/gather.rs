//! The evidence of a month, machine by machine: which of its days count for which line, and why the others do not.
//! Invariant: a day on which a machine reported something active counts in a line or has a reason.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use seatbeat_proto::ids::{CustomerId, MachineId};

use super::marks::{DaySet, HashText};
use super::rows::{Excluded, ExcludedReason};
use crate::calendar::{Day, Period, UsageDay};
use crate::machine_day::machine_day;
use crate::machines::{Machine, Names};
use crate::policy::{Moved, Policy};
use crate::record::Sku;
use crate::registry::Registry;
use crate::seats::Seats;
use crate::statement::DEFAULT_DISTRIBUTOR;
use crate::usage::{MachineFacts, Usage};

/// A machine's counted days for a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Days on which it was seen.
    pub confirmed: DaySet,
    /// Days on which it was silent.
    pub presumed: DaySet,
    /// Days of both on which it sent a report.
    reported: DaySet,
    /// Its first counted day ever for the SKU or one of the same price group.
    pub first: Date,
}

/// The agents of a machine and the end of their evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agents {
    /// Where there are several.
    pub joined: BTreeSet<MachineId>,
    /// Hash of the newest evidence of any of them.
    pub last: Option<HashText>,
}

/// All evidence of a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthEvidence {
    /// Who stands behind each line.
    pub seats: BTreeMap<(CustomerId, Sku), BTreeMap<MachineId, Seat>>,
    /// Which days count for no line, by machine: of all distributors.
    unbilled: BTreeMap<MachineId, Vec<Excluded>>,
    agents: BTreeMap<MachineId, Agents>,
    /// Who bills which SKU.
    distributors: BTreeMap<Sku, String>,
}

/// What evidence is gathered from.
#[derive(Debug, Clone, Copy)]
pub struct GatherInput<'a> {
    /// What the records amount to.
    pub usage: &'a Usage,
    /// Who is known, for the ends of their chains; a set of records alone does not say.
    pub registry: Option<&'a Registry>,
    /// By which the month is closed.
    pub policy: &'a Policy,
    /// Which month.
    pub period: Period,
    /// [`crate::close::seats`] of the month.
    pub seats: &'a Seats,
}

impl MonthEvidence {
    /// Gathers it.
    pub fn gather(input: GatherInput<'_>) -> Self {
        let GatherInput { usage, policy, period, .. } = input;
        let names = Names::new(usage);
        let days = usage.zone().days(period);
        let kept = kept_days(input.seats, period);
        let joined = joined(usage, &names);
        let mut found = Self {
            seats: BTreeMap::new(),
            unbilled: BTreeMap::new(),
            agents: BTreeMap::new(),
            distributors: BTreeMap::new(),
        };
        let nothing = BTreeMap::new();
        for machine in names.machines(usage) {
            let kept = kept.get(&machine.id).unwrap_or(&nothing);
            let reasons = unbilled(input, &machine, &days, kept);
            if kept.is_empty() && reasons.is_empty() {
                continue;
            }
            for (key, seat) in kept {
                let (customer, sku) = *key;
                let (confirmed, presumed) = *seat;
                let first = first_counted(usage, policy, &machine.facts, sku, period).date();
                let counted = confirmed.union(presumed).days(period);
                let reported = counted.filter(|day| machine.facts.attendance.reported(*day).is_some());
                let seat = Seat { confirmed, presumed, reported: DaySet::of(period, reported), first };
                let line = found.seats.entry((customer.clone(), sku.clone())).or_default();
                line.insert(machine.id.clone(), seat);
            }
            if !reasons.is_empty() {
                found.unbilled.insert(machine.id.clone(), reasons);
            }
            let agents = joined.get(&machine.id).cloned().unwrap_or_default();
            let last = newest_hash(input.registry, &machine.id, &agents);
            found.agents.insert(machine.id.clone(), Agents { joined: agents, last });
        }
        let skus = found.seats.keys().map(|(_, sku)| sku);
        let excluded = found.unbilled.values().flatten().filter_map(|reason| reason.sku.as_ref());
        let distributor = |sku: &Sku| policy.distributor(sku).unwrap_or(DEFAULT_DISTRIBUTOR).to_owned();
        found.distributors = skus.chain(excluded).map(|sku| (sku.clone(), distributor(sku))).collect();
        found
    }

    /// The agents of a machine.
    pub fn agents(&self, machine: &MachineId) -> Agents {
        self.agents.get(machine).cloned().unwrap_or_default()
    }

    /// The machine that an agent is part of.
    pub fn machine_of<'a>(&'a self, agent: &'a MachineId) -> &'a MachineId {
        let joined = self.agents.iter().find(|(_, agents)| agents.joined.contains(agent));
        joined.map_or(agent, |(machine, _)| machine)
    }

    /// The lines that a distributor bills and machines stand behind.
    pub fn lines_of<'a>(&'a self, distributor: &'a str) -> impl Iterator<Item = &'a (CustomerId, Sku)> + 'a {
        self.seats.keys().filter(move |(_, sku)| self.is_billed_by(sku, distributor))
    }

    /// Which machines have days that count for no line of a distributor, and why.
    pub fn excluded_for(&self, distributor: &str) -> BTreeMap<&MachineId, Vec<Excluded>> {
        let (mut here, mut elsewhere) = (BTreeMap::new(), BTreeMap::new());
        for ((_, sku), machines) in &self.seats {
            let days = if self.is_billed_by(sku, distributor) { &mut here } else { &mut elsewhere };
            for (machine, seat) in machines {
                let of_machine: &mut DaySet = days.entry(machine).or_default();
                *of_machine = of_machine.union(seat.reported);
            }
        }
        let mut excluded: BTreeMap<&MachineId, Vec<Excluded>> = BTreeMap::new();
        for (machine, reasons) in &self.unbilled {
            for reason in reasons {
                match &reason.sku {
                    Some(sku) if !self.is_billed_by(sku, distributor) => {
                        let days: &mut DaySet = elsewhere.entry(machine).or_default();
                        *days = days.union(reason.days);
                    }
                    _ => excluded.entry(machine).or_default().push(reason.clone()),
                }
            }
        }
        for (machine, days) in elsewhere {
            let days = days.without(here.get(machine).copied().unwrap_or_default());
            if !days.is_empty() {
                let reason = Excluded { days, reason: ExcludedReason::OtherDistributor, sku: None };
                excluded.entry(machine).or_default().push(reason);
            }
        }
        excluded.values_mut().for_each(|reasons| reasons.sort());
        excluded
    }

    fn is_billed_by(&self, sku: &Sku, distributor: &str) -> bool {
        self.distributors.get(sku).map_or(DEFAULT_DISTRIBUTOR, String::as_str) == distributor
    }
}

/// Confirmed and presumed days of a machine, by line.
type Kept<'a> = BTreeMap<(&'a CustomerId, &'a Sku), (DaySet, DaySet)>;

fn kept_days(seats: &Seats, period: Period) -> BTreeMap<MachineId, Kept<'_>> {
    let mut kept: BTreeMap<MachineId, Kept<'_>> = BTreeMap::new();
    for ((customer, sku), machines) in seats {
        for (machine, counted) in machines {
            let days = |confirmed| {
                let some = counted.iter().filter(move |day| day.confirmed == confirmed);
                DaySet::of(period, some.map(|day| day.day))
            };
            kept.entry(machine.clone()).or_default().insert((customer, sku), (days(true), days(false)));
        }
    }
    kept
}

fn joined(usage: &Usage, names: &Names) -> BTreeMap<MachineId, BTreeSet<MachineId>> {
    let mut joined: BTreeMap<MachineId, BTreeSet<MachineId>> = BTreeMap::new();
    for (one, other) in usage.merged_pairs() {
        joined.entry(names.of(one).clone()).or_default().extend([one.clone(), other.clone()]);
    }
    joined
}

fn newest_hash(
    registry: Option<&Registry>,
    machine: &MachineId,
    joined: &BTreeSet<MachineId>,
) -> Option<HashText> {
    let registry = registry?;
    let newest = |agent: &MachineId| -> Option<(Timestamp, u64, [u8; 32])> {
        let known = registry.machine(agent)?;
        let ends = known.spools.iter().map(|(spool, tip)| {
            (known.continued_at.get(spool).copied().unwrap_or(Timestamp::MIN), tip.sequence, tip.hash)
        });
        ends.max()
    };
    let agents = joined.iter().chain([machine]);
    agents.filter_map(newest).max().map(|(_, _, hash)| HashText(hash))
}

/// Why days on which the machine reported do not count, or not for each SKU.
fn unbilled(
    input: GatherInput<'_>,
    machine: &Machine<'_>,
    days: &[UsageDay],
    kept: &Kept<'_>,
) -> Vec<Excluded> {
    let facts = machine.facts.as_ref();
    let mut excluded = ExcludedDays { period: input.period, days: BTreeMap::new() };
    let mut filtered: BTreeMap<(Option<CustomerId>, Sku), (DaySet, u32)> = BTreeMap::new();
    for day in days.iter().filter(|day| facts.attendance.reported(day.day).is_some()) {
        let is_active = |product| facts.attendance.active(product, day.day).is_some();
        if !facts.attendance.products().any(is_active) {
            excluded.note(day.day, ExcludedReason::NotActive, None);
            continue;
        }
        let found = machine_day(input.usage, input.policy, facts, day);
        let has_reason = found.is_unassigned || !found.unmapped.is_empty();
        if found.is_unassigned {
            excluded.note(day.day, ExcludedReason::Unassigned, None);
        }
        if !found.unmapped.is_empty() {
            excluded.note(day.day, ExcludedReason::Unmapped, None);
        }
        for sku in &found.running_suspended {
            excluded.note(day.day, ExcludedReason::Suspended, Some(sku));
        }
        for (sku, confirmed) in &found.seats {
            let is_kept = |((_, other), (seen, silent)): (&(&CustomerId, &Sku), &(DaySet, DaySet))| {
                *other == sku && seen.union(*silent).contains(input.period, day.day)
            };
            if !kept.iter().any(is_kept) {
                let owner = found.owner.clone().filter(|_| input.policy.moved == Moved::EachOwner);
                let (days, seen) = filtered.entry((owner, sku.clone())).or_default();
                days.insert(input.period, day.day);
                *seen += u32::from(*confirmed);
            }
        }
        if !has_reason && found.seats.is_empty() && found.running_suspended.is_empty() {
            excluded.note(day.day, ExcludedReason::NotBilled, None);
        }
    }
    for ((_, sku), (days, seen)) in filtered {
        let is_few = seen < input.policy.rule(&sku).min_days;
        let reason = if is_few { ExcludedReason::MinDays } else { ExcludedReason::FreeFirstMonth };
        days.days(input.period).for_each(|day| excluded.note(day, reason, Some(&sku)));
    }
    excluded.sorted()
}

struct ExcludedDays {
    period: Period,
    days: BTreeMap<(ExcludedReason, Option<Sku>), DaySet>,
}

impl ExcludedDays {
    fn note(&mut self, day: Day, reason: ExcludedReason, sku: Option<&Sku>) {
        self.days.entry((reason, sku.cloned())).or_default().insert(self.period, day);
    }

    fn sorted(self) -> Vec<Excluded> {
        let all = self.days.into_iter().map(|((reason, sku), days)| Excluded { days, reason, sku });
        let mut all: Vec<Excluded> = all.collect();
        all.sort();
        all
    }
}

/// The machine's first counted day ever for the SKU or one of the same price group, whoever owned it (rule 9).
fn first_counted(usage: &Usage, policy: &Policy, facts: &MachineFacts, sku: &Sku, period: Period) -> Day {
    let group = policy.rule(sku).price_group.as_ref();
    let is_alike = |other: &Sku| match group {
        Some(group) => policy.rule(other).price_group.as_ref() == Some(group),
        None => other == sku,
    };
    let end = period.next().first_day();
    let mut day = facts.attendance.first_active_day().unwrap_or(end);
    while day < end {
        let counts = usage
            .zone()
            .usage_day_of(day)
            .is_some_and(|bounds| machine_day(usage, policy, facts, &bounds).seats.keys().any(is_alike));
        if counts {
            return day;
        }
        day = day.plus(1);
    }
    end
}
