//! Rules 7 to 9: the seats of a period, machine by machine.
//! Invariant: a counted day of a (machine, SKU) goes to at most one customer.

use std::collections::BTreeMap;

use seatbeat_proto::ids::{CustomerId, MachineId};

use crate::calendar::{Day, Period, UsageDay};
use crate::findings::{DayRange, Findings};
use crate::machine_day::machine_day;
use crate::machines::{Machine, Names, join};
use crate::policy::{Moved, Policy};
use crate::record::Sku;
use crate::statement::{Blocker, Flag};
use crate::usage::{MachineFacts, Usage};

/// A counted day of a (machine, SKU).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedDay {
    /// The usage day.
    pub day: Day,
    /// Whether the use was seen that day.
    pub confirmed: bool,
}

/// Who uses what, with the counted days of each machine.
pub type Seats = BTreeMap<(CustomerId, Sku), BTreeMap<MachineId, Vec<CountedDay>>>;

/// The seats of a period over these of its days, and what there is to say about them.
pub fn count_seats(usage: &Usage, policy: &Policy, period: Period, days: &[UsageDay]) -> (Seats, Findings) {
    let (mut seats, mut findings) = (Seats::new(), Findings::default());
    let Some(range) = DayRange::of(days) else { return (seats, findings) };
    let names = Names::new(usage);
    let machines = join(usage, &names);
    for machine in &machines {
        findings.note_machine(usage, machine, range);
        for (sku, owned) in owned_days(usage, policy, machine, days, &mut findings) {
            for (customer, counted) in share_out(policy.moved, owned) {
                if passes_filters(usage, policy, &machine.facts, period, &sku, &counted) {
                    let key = (customer, sku.clone());
                    seats.entry(key).or_default().insert(machine.id.clone(), counted);
                }
            }
        }
    }
    findings.note_rejected(usage, &names, &machines, range);
    (seats, findings)
}

type OwnedDays = Vec<(CustomerId, CountedDay)>;

/// Rule 7: the counted days of a machine by SKU, with the owner of each.
fn owned_days(
    usage: &Usage,
    policy: &Policy,
    machine: &Machine<'_>,
    days: &[UsageDay],
    findings: &mut Findings,
) -> BTreeMap<Sku, OwnedDays> {
    let mut owned: BTreeMap<Sku, OwnedDays> = BTreeMap::new();
    for day in days {
        let found = machine_day(usage, policy, &machine.facts, day);
        if found.went_silent {
            findings.flags.insert(Flag::of_machine("went_silent", &machine.id));
        }
        if found.is_unassigned {
            findings.blockers.insert(Blocker::of_machine("unassigned", &machine.id));
        }
        let Some(owner) = found.owner else { continue };
        findings.note_unmapped(&owner, found.unmapped);
        for sku in &found.running_suspended {
            findings.flags.insert(Flag::running_on_suspended_licence(&owner, sku, &machine.id));
        }
        for (sku, confirmed) in found.seats {
            owned.entry(sku).or_default().push((owner.clone(), CountedDay { day: day.day, confirmed }));
        }
    }
    owned
}

/// Rule 8: to whom the days of a machine that changed hands go. The days are in order.
fn share_out(moved: Moved, days: OwnedDays) -> BTreeMap<CustomerId, Vec<CountedDay>> {
    let winner = match moved {
        Moved::EachOwner => None,
        Moved::LastOwner => days.last().map(|(owner, _)| owner.clone()),
        Moved::MainOwner => {
            let mut owned: BTreeMap<&CustomerId, (usize, Day)> = BTreeMap::new();
            for (owner, counted) in &days {
                let (count, last) = owned.entry(owner).or_insert((0, counted.day));
                (*count, *last) = (*count + 1, counted.day);
            }
            owned.into_iter().max_by_key(|(_, rank)| *rank).map(|(owner, _)| owner.clone())
        }
    };
    let mut shares: BTreeMap<CustomerId, Vec<CountedDay>> = BTreeMap::new();
    for (owner, counted) in days {
        shares.entry(winner.clone().unwrap_or(owner)).or_default().push(counted);
    }
    shares
}

/// Rule 9: whether the seats of a machine stay in.
fn passes_filters(
    usage: &Usage,
    policy: &Policy,
    facts: &MachineFacts,
    period: Period,
    sku: &Sku,
    counted: &[CountedDay],
) -> bool {
    let rule = policy.rule(sku);
    let confirmed = counted.iter().filter(|day| day.confirmed).count();
    if confirmed < rule.min_days as usize {
        return false;
    }
    let is_alike = |other: &Sku| match &rule.price_group {
        Some(group) => policy.rule(other).price_group.as_ref() == Some(group),
        None => other == sku,
    };
    !rule.free_first_month || was_counted_before(usage, policy, facts, period, is_alike)
}

/// Whether the machine had a counted day for such a SKU before the period, whoever owned it.
/// Looks from its first active day on, so a machine that was ever billed is told at once.
fn was_counted_before(
    usage: &Usage,
    policy: &Policy,
    facts: &MachineFacts,
    period: Period,
    is_alike: impl Fn(&Sku) -> bool,
) -> bool {
    let Some(mut day) = facts.evidence.first_active_day() else { return false };
    while day < period.first_day() {
        if let Some(bounds) = usage.zone().usage_day_of(day)
            && machine_day(usage, policy, facts, &bounds).seats.keys().any(&is_alike)
        {
            return true;
        }
        day = day.plus(1);
    }
    false
}
