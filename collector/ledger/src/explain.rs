//! The machines behind a number, and why each other one that was seen is not in it.
//! Invariant: the machines that count, on the days that they are told with, measure to exactly the line's quantity.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, MachineId};
use serde::{Deserialize, Serialize};

use crate::calendar::{MonthDays, Period, UsageDay};
use crate::close::begun_days;
use crate::machines::{Machine, Names};
use crate::owner::owner_of_day;
use crate::policy::Policy;
use crate::record::Sku;
use crate::statement::Line;
use crate::unbilled::{Telling, Told, Unbilled, days_of_month};
use crate::usage::Usage;

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    /// A line: the machines behind it, and every other one of the customer that was seen.
    Line(CustomerId, Sku),
    /// What is not billed, of a customer or of all.
    Unbilled(Option<CustomerId>),
}

/// A question about a period that was counted.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What the records amount to.
    pub usage: &'a Usage,
    /// By which it was counted.
    pub policy: &'a Policy,
    /// Which month.
    pub period: Period,
    /// Usage days that begin after it are left out.
    pub as_of: Option<Timestamp>,
    /// The lines that were counted.
    pub lines: &'a [Line],
    /// What is to be explained.
    pub of: &'a Of,
    /// Machines behind this one, by id.
    pub after: Option<&'a MachineId>,
    /// How many at most.
    pub size: usize,
}

/// A seat of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatTold {
    /// Who bears it.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// Whether it is in the line's quantity: it is there on the day that the line is measured by.
    pub counts: bool,
    /// Counted days of the month on which its use was seen.
    pub confirmed: Vec<u8>,
    /// Counted days on which the machine was silent.
    pub presumed: Vec<u8>,
}

/// A machine, its seats, and why its other days count for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineTold {
    /// Which.
    pub machine: MachineId,
    /// Its agents, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<MachineId>,
    /// All its seats, of whatever SKU.
    pub seats: Vec<SeatTold>,
    /// Why not more.
    pub reasons: Vec<Unbilled>,
}

/// A page of machines, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Machines that are in the quantity, on all pages.
    pub counted: u64,
    /// Machines that are not, on all pages.
    pub not_counted: u64,
    /// The machines of this page, by id.
    pub machines: Vec<MachineTold>,
    /// The machine that the next page starts behind; absent: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<MachineId>,
}

/// The smallest ids behind a given one.
struct Page<'a> {
    after: Option<&'a MachineId>,
    size: usize,
    machines: BTreeMap<MachineId, MachineTold>,
}

impl Page<'_> {
    fn add(&mut self, told: MachineTold) {
        if self.after.is_some_and(|after| told.machine <= *after) {
            return;
        }
        match self.machines.get_mut(&told.machine) {
            Some(known) => known.reasons.extend(told.reasons),
            None => _ = self.machines.insert(told.machine.clone(), told),
        }
        if self.machines.len() > self.size + 1 {
            self.machines.pop_last();
        }
    }
}

/// One machine in a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineMonth {
    /// What it amounts to, and why not to more.
    pub told: MachineTold,
    /// Days of the month with an accepted report of it.
    pub seen: Vec<u8>,
    /// Days of the month that have begun.
    pub begun: Vec<u8>,
}

/// Tells of the machine that an agent is part of, in a month whose lines are these; usage days that begin after `as_of`
/// are left out. `None`: no day has begun, or nothing is known of it.
pub fn explain_machine(
    usage: &Usage,
    policy: &Policy,
    period: Period,
    as_of: Option<Timestamp>,
    lines: &[Line],
    agent: &MachineId,
) -> Option<MachineMonth> {
    let (days, names) = (begun_days(usage, period, as_of), Names::new(usage));
    let mut telling = Telling::new(usage, policy, period, &days, lines, &names)?;
    let machine = names.machine(usage, names.of(agent))?;
    let told = telling.machine(&machine);
    let number = |day: &UsageDay| day.day.date().day().unsigned_abs();
    let is_seen = |day: &&UsageDay| machine.facts.attendance.reported(day.day).is_some();
    Some(MachineMonth {
        seen: days.iter().filter(is_seen).map(number).collect(),
        begun: days.iter().map(number).collect(),
        told: MachineTold {
            agents: agents(&names, &machine.id),
            seats: seats_told(&told, &days, period),
            reasons: told.reasons,
            machine: machine.id.clone(),
        },
    })
}

/// Explains a line, or what is in none.
pub fn explain(asked: Asked<'_>) -> Explanation {
    let Asked { usage, policy, period, lines, .. } = asked;
    let (days, names) = (begun_days(usage, period, asked.as_of), Names::new(usage));
    let mut found = Explanation::default();
    let Some(mut telling) = Telling::new(usage, policy, period, &days, lines, &names) else { return found };
    let mut page = Page { after: asked.after, size: asked.size, machines: BTreeMap::new() };
    for machine in names.machines(usage) {
        if let Of::Line(customer, _) = asked.of
            && !was_ever_of(customer, &machine)
        {
            continue;
        }
        let told = telling.machine(&machine);
        let is_counted = match asked.of {
            Of::Line(customer, sku) => {
                if !is_about(customer, &machine, &told, &days) {
                    continue;
                }
                told.seats
                    .iter()
                    .any(|(seat, counts)| *counts && seat.customer == *customer && seat.sku == *sku)
            }
            Of::Unbilled(_) => false,
        };
        let seats = seats_told(&told, &days, period);
        let reasons = match asked.of {
            Of::Line(..) => told.reasons,
            Of::Unbilled(customer) => told.seats_lost().filter(|row| is_of(row, customer.as_ref())).collect(),
        };
        let has_nothing = matches!(asked.of, Of::Unbilled(_)) || seats.is_empty();
        if has_nothing && reasons.is_empty() {
            continue;
        }
        *(if is_counted { &mut found.counted } else { &mut found.not_counted }) += 1;
        page.add(MachineTold { agents: agents(&names, &machine.id), machine: machine.id, seats, reasons });
    }
    if let Of::Unbilled(None) = asked.of {
        for row in telling.rejected() {
            found.not_counted += 1;
            let (machine, agents, seats) = (row.machine.clone(), Vec::new(), Vec::new());
            page.add(MachineTold { machine, agents, seats, reasons: vec![row] });
        }
    }
    let has_more = page.machines.len() > asked.size;
    found.machines = page.machines.into_values().take(asked.size).collect();
    found.next = found.machines.last().filter(|_| has_more).map(|last| last.machine.clone());
    found
}

fn is_of(row: &Unbilled, customer: Option<&CustomerId>) -> bool {
    customer.is_none() || row.customer.as_ref() == customer
}

/// Whether a machine, or an agent of it, was ever a customer's: of any other one nothing is told, and telling takes its
/// time.
fn was_ever_of(customer: &CustomerId, machine: &Machine<'_>) -> bool {
    let of_agents = machine.agents.iter().flat_map(|agent| agent.assigned.iter());
    machine.facts.assigned.iter().chain(of_agents).any(|(_, owner)| owner == customer)
}

/// Whether a machine has to do with a customer in these days: it bears a seat of it, has a reason to bear none, or was
/// its own when it was seen.
fn is_about(customer: &CustomerId, machine: &Machine<'_>, told: &Told, days: &[UsageDay]) -> bool {
    let facts = machine.facts.as_ref();
    told.seats.iter().any(|(seat, _)| seat.customer == *customer)
        || told.reasons.iter().any(|row| row.customer.as_ref() == Some(customer))
        || days.iter().any(|day| {
            facts.attendance.reported(day.day).is_some() && owner_of_day(facts, day) == Some(customer)
        })
}

fn agents(names: &Names, machine: &MachineId) -> Vec<MachineId> {
    let agents: BTreeSet<&MachineId> = names.members(machine).collect();
    if agents.len() > 1 { agents.into_iter().cloned().collect() } else { Vec::new() }
}

fn seats_told(told: &Told, days: &[UsageDay], period: Period) -> Vec<SeatTold> {
    let first = MonthDays::of(days).map_or(period.first_day(), |month| month.first());
    let before = first.days_since(period.first_day());
    let seat = |(seat, counts): &(crate::seats::Seat, bool)| SeatTold {
        customer: seat.customer.clone(),
        sku: seat.sku.clone(),
        counts: *counts,
        confirmed: days_of_month(seat.confirmed, before),
        presumed: days_of_month(seat.counted & !seat.confirmed, before),
    };
    let mut seats: Vec<SeatTold> = told.seats.iter().map(seat).collect();
    seats.sort_by(|one, other| (&one.customer, &one.sku).cmp(&(&other.customer, &other.sku)));
    seats
}

#[cfg(test)]
mod tests;
