//! The metering page, read once more for the policy of the simulation: rules 1 to 3, 7, 8, 10 and 11. Invariant: it takes
//! the ledger's records and none of its rules.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use seatbeat_ledger::record::{Event, Record, State};

use crate::operators::{PRESUME_DAYS, PRODUCTS};
use crate::world::{DAY, HOUR, MINUTE};

/// Hundredths of a unit, by customer and SKU.
pub type Quantities = BTreeMap<(String, String), i64>;

#[derive(Default)]
struct Machine {
    /// When, place in the chain, and the state of each product it lists.
    reports: Vec<(i64, u64, String, BTreeMap<String, State>)>,
    owners: Vec<(i64, String)>,
    retired: Vec<i64>,
}

/// The SKU of a product.
fn sku(product: &str) -> &'static str {
    if product == "apexone" { "A1" } else { "DS" }
}

/// What a month's quantities are, in hundredths.
pub fn quantities(records: &[Record], year: i16, month: i8) -> Quantities {
    let (machines, adjusted) = sorted(records, year, month);
    let first = Date::new(year, month, 1).expect("a month has a first day");
    let days = i64::from(first.days_in_month());
    let start =
        first.to_zoned(jiff::tz::TimeZone::UTC).expect("it has an instant").timestamp().as_millisecond()
            / DAY;
    // Machine and SKU: the counted days with their owners.
    let mut seats: BTreeMap<(usize, &str), Vec<(i64, String)>> = BTreeMap::new();
    for (number, machine) in machines.iter().enumerate() {
        for day in start..start + days {
            let counted: BTreeSet<&str> =
                PRODUCTS.into_iter().filter(|product| machine.counts(product, day)).map(sku).collect();
            for sku in counted {
                if let Some(owner) = machine.owner(day) {
                    seats.entry((number, sku)).or_default().push((day, owner));
                }
            }
        }
    }
    let mut by_day: BTreeMap<(String, String), BTreeMap<i64, i64>> = BTreeMap::new();
    for ((_, sku), counted) in seats {
        let owner = main_owner(&counted);
        for (day, _) in counted {
            *by_day.entry((owner.clone(), sku.to_owned())).or_default().entry(day).or_default() += 1;
        }
    }
    let mut quantities: Quantities = by_day
        .into_iter()
        .map(|((customer, sku), by_day)| {
            let quantity = if sku == "A1" {
                100 * by_day.values().max().copied().unwrap_or_default()
            } else {
                // Rounded half up to hundredths.
                (200 * by_day.values().sum::<i64>() + days) / (2 * days)
            };
            ((customer, sku), quantity)
        })
        .collect();
    for (place, delta) in adjusted {
        *quantities.entry(place).or_default() += 100 * delta;
    }
    quantities.retain(|_, quantity| {
        *quantity = (*quantity).max(0);
        *quantity != 0
    });
    quantities
}

/// The customer that owned most of the days; of several the one whose last is later.
fn main_owner(counted: &[(i64, String)]) -> String {
    let mut owned: BTreeMap<&String, (i64, i64)> = BTreeMap::new();
    for (day, owner) in counted {
        let entry = owned.entry(owner).or_default();
        *entry = (entry.0 + 1, *day);
    }
    owned.into_iter().max_by_key(|(_, most)| *most).map(|(owner, _)| owner.clone()).unwrap_or_default()
}

type Adjusted = BTreeMap<(String, String), i64>;

/// Machines that are one in one place, and a month's adjustments.
fn sorted(records: &[Record], year: i16, month: i8) -> (Vec<Machine>, Adjusted) {
    let mut bonds: BTreeMap<(String, String), (i64, bool)> = BTreeMap::new();
    let mut single: BTreeMap<String, Machine> = BTreeMap::new();
    let mut adjusted: BTreeMap<(String, String), BTreeMap<String, i64>> = BTreeMap::new();
    for record in records {
        match record {
            Record::Report(report) => {
                let (seen, got) = (report.observed_at.as_millisecond(), report.received_at.as_millisecond());
                if seen - got > 10 * MINUTE || got - seen > 62 * 24 * HOUR {
                    continue;
                }
                let states = report.products.iter().map(|(id, seen)| (id.to_string(), seen.state)).collect();
                let place = (seen, report.sequence, report.spool.to_string(), states);
                single.entry(report.machine.to_string()).or_default().reports.push(place);
            }
            Record::Entry(entry) => {
                let at = entry.at.as_millisecond();
                match &entry.event {
                    Event::MachineAssigned { machine, customer } => {
                        single
                            .entry(machine.to_string())
                            .or_default()
                            .owners
                            .push((at, customer.to_string()));
                    }
                    Event::MachineRetired { machine } => {
                        single.entry(machine.to_string()).or_default().retired.push(at);
                    }
                    Event::MachinesMerged { kept, absorbed } | Event::MachinesSplit { kept, absorbed } => {
                        let split = matches!(entry.event, Event::MachinesSplit { .. });
                        let (one, other) = (kept.to_string(), absorbed.to_string());
                        let pair = if one < other { (one, other) } else { (other, one) };
                        let known = bonds.entry(pair).or_insert((at, split));
                        *known = (*known).max((at, split));
                    }
                    Event::Adjusted { customer, sku, period, delta }
                        if period.to_string() == format!("{year}-{month:02}") =>
                    {
                        let place = (customer.to_string(), sku.to_string());
                        let id = entry.id.clone().unwrap_or_default();
                        adjusted.entry(place).or_default().insert(id, *delta);
                    }
                    _ => {}
                }
            }
        }
    }
    let adjusted = adjusted.into_iter().map(|(place, all)| (place, all.values().sum())).collect();
    (joined(single, &bonds), adjusted)
}

fn joined(
    single: BTreeMap<String, Machine>,
    bonds: &BTreeMap<(String, String), (i64, bool)>,
) -> Vec<Machine> {
    let mut name: BTreeMap<String, String> = single.keys().map(|id| (id.clone(), id.clone())).collect();
    let merged = bonds.iter().filter(|(_, (_, split))| !split).map(|(pair, _)| pair);
    for (one, other) in merged {
        let (one, other) = (name.get(one).cloned(), name.get(other).cloned());
        if let (Some(one), Some(other)) = (one, other) {
            let (least, greater) = if one < other { (one, other) } else { (other, one) };
            name.values_mut().filter(|known| **known == greater).for_each(|known| *known = least.clone());
        }
    }
    let mut groups: BTreeMap<String, Machine> = BTreeMap::new();
    for (id, machine) in single {
        let group = groups.entry(name[&id].clone()).or_default();
        group.reports.extend(machine.reports);
        group.owners.extend(machine.owners);
        group.retired.extend(machine.retired);
    }
    let mut machines: Vec<Machine> = groups.into_values().collect();
    for machine in &mut machines {
        machine.reports.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
        machine.owners.sort();
    }
    machines
}

impl Machine {
    fn on(&self, day: i64) -> impl Iterator<Item = &(i64, u64, String, BTreeMap<String, State>)> {
        self.reports.iter().filter(move |(at, ..)| at.div_euclid(DAY) == day)
    }

    fn owner(&self, day: i64) -> Option<String> {
        // Without a report: just before the next day's first instant.
        let at = self.on(day).last().map_or((day + 1) * DAY - 1, |(at, ..)| *at);
        let before = self.owners.iter().rev().find(|(from, _)| *from <= at);
        let first = || {
            let (first, _) = self.owners.first()?;
            self.owners.iter().rev().find(|(from, _)| from == first)
        };
        before.or_else(first).map(|(_, customer)| customer.clone())
    }

    fn counts(&self, product: &str, day: i64) -> bool {
        let state = |states: &BTreeMap<String, State>| states.get(product).copied();
        if self.on(day).any(|(.., states)| state(states) == Some(State::Active)) {
            return true;
        }
        let settles = |states: &BTreeMap<String, State>| state(states) != Some(State::Unknown);
        if self.on(day).any(|(.., states)| settles(states)) {
            return false;
        }
        let begins = day * DAY;
        let earlier = || self.reports.iter().filter(|(at, .., states)| *at < begins && settles(states));
        let Some((last, ..)) = earlier().next_back() else { return false };
        let was_active =
            earlier().filter(|(at, ..)| at == last).any(|(.., states)| state(states) == Some(State::Active));
        let is_recent = day - last.div_euclid(DAY) <= PRESUME_DAYS;
        let retired = self.retired.iter().any(|at| at > last && *at <= begins);
        was_active && is_recent && !retired
    }
}
