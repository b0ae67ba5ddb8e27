//! The metering page, read once more for the policy of the simulation: rules 1 to 3, 6 to 8, 10 and 11. Invariant: it takes
//! the ledger's records and none of its rules.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use seatbeat_ledger::record::{Event, Record, Sighting, State};
use seatbeat_proto::ids::ProductId;

use crate::office::{PRESUME_DAYS, PRODUCTS};
use crate::world::{DAY, HOUR, MINUTE};

/// Hundredths of a unit, by customer and SKU.
pub type Quantities = BTreeMap<(String, String), i64>;

#[derive(Default)]
struct Machine<'a> {
    /// When, place in the chain, and the state of each product it lists; in their order.
    reports: Vec<Seen<'a>>,
    owners: Vec<(i64, String)>,
    retired: Vec<i64>,
    /// When, switched on, which product.
    switched: Vec<(i64, bool, &'a ProductId)>,
}

/// A report, as far as it counts: when, sequence, chain, products.
type Seen<'a> = (i64, u64, &'a str, &'a BTreeMap<ProductId, Sighting>);

/// The SKU of a product.
fn default_sku(product: &ProductId) -> &'static str {
    if product.as_str() == "apexone" { "A1" } else { "DS" }
}

/// What a customer's product is billed as on a day; none: as nothing.
fn billed<'a>(maps: &'a Maps<'_>, owner: &str, product: &ProductId, day: i64) -> Option<&'a str> {
    let known = maps.get(&(owner, product.as_str())).into_iter().flatten();
    let latest = known.filter(|(at, _)| *at < (day + 1) * DAY).max();
    latest.map_or_else(|| Some(default_sku(product)), |(_, sku)| *sku)
}

/// What a month's quantities are, in hundredths.
pub fn quantities(records: &[Record], year: i16, month: i8) -> Quantities {
    let (machines, adjusted) = sorted(records, year, month);
    let maps = mapped(records);
    let first = Date::new(year, month, 1).expect("a month has a first day");
    let days = i64::from(first.days_in_month());
    let start =
        first.to_zoned(jiff::tz::TimeZone::UTC).expect("it has an instant").timestamp().as_millisecond()
            / DAY;
    let products = PRODUCTS.map(|product| product.parse::<ProductId>().expect("it is one"));
    // Machine and SKU: the counted days with their owners.
    let mut seats: BTreeMap<(usize, &str), Vec<(i64, String)>> = BTreeMap::new();
    for (number, machine) in machines.iter().enumerate() {
        for day in start..start + days {
            let counted: Vec<&ProductId> =
                products.iter().filter(|product| machine.counts(product, day)).collect();
            let owner = if counted.is_empty() { None } else { machine.owner(day) };
            let Some(owner) = owner else { continue };
            let billed = counted.into_iter().filter_map(|product| billed(&maps, &owner, product, day));
            for sku in billed.collect::<BTreeSet<&str>>() {
                seats.entry((number, sku)).or_default().push((day, owner.clone()));
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

/// By customer and product: since when it is billed as what.
type Maps<'a> = BTreeMap<(&'a str, &'a str), Vec<(i64, Option<&'a str>)>>;

fn mapped(records: &[Record]) -> Maps<'_> {
    let mut maps = Maps::new();
    for record in records {
        if let Record::Entry(entry) = record
            && let Event::SkuAssigned { customer, product, sku } = &entry.event
        {
            let place = (customer.as_str(), product.as_str());
            let since = (entry.at.as_millisecond(), sku.as_ref().map(|sku| sku.as_str()));
            maps.entry(place).or_default().push(since);
        }
    }
    maps
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
fn sorted(records: &[Record], year: i16, month: i8) -> (Vec<Machine<'_>>, Adjusted) {
    let mut bonds: BTreeMap<(String, String), (i64, bool)> = BTreeMap::new();
    let mut single: BTreeMap<&str, Machine<'_>> = BTreeMap::new();
    let month_text = format!("{year}-{month:02}");
    let mut adjusted: BTreeMap<(String, String), BTreeMap<String, i64>> = BTreeMap::new();
    let mut declared: BTreeMap<(String, String), (i64, u64)> = BTreeMap::new();
    for record in records {
        match record {
            Record::Report(report) => {
                let (seen, got) = (report.observed_at.as_millisecond(), report.received_at.as_millisecond());
                if seen - got > 10 * MINUTE || got - seen > 62 * 24 * HOUR {
                    continue;
                }
                let place = (seen, report.sequence, report.spool.as_str(), &report.products);
                single.entry(report.machine.as_str()).or_default().reports.push(place);
            }
            Record::Entry(entry) => {
                let at = entry.at.as_millisecond();
                match &entry.event {
                    Event::MachineAssigned { machine, customer } => {
                        single.entry(machine.as_str()).or_default().owners.push((at, customer.to_string()));
                    }
                    Event::MachineRetired { machine } => {
                        single.entry(machine.as_str()).or_default().retired.push(at);
                    }
                    Event::SwitchedOff { machine, product } | Event::SwitchedOn { machine, product } => {
                        let on = matches!(entry.event, Event::SwitchedOn { .. });
                        single.entry(machine.as_str()).or_default().switched.push((at, on, product));
                    }
                    Event::MachinesMerged { kept, absorbed } | Event::MachinesSplit { kept, absorbed } => {
                        let split = matches!(entry.event, Event::MachinesSplit { .. });
                        let (one, other) = (kept.to_string(), absorbed.to_string());
                        let pair = if one < other { (one, other) } else { (other, one) };
                        let known = bonds.entry(pair).or_insert((at, split));
                        *known = (*known).max((at, split));
                    }
                    Event::Adjusted { customer, sku, period, delta } if period.to_string() == month_text => {
                        let place = (customer.to_string(), sku.to_string());
                        let id = entry.id.clone().unwrap_or_default();
                        adjusted.entry(place).or_default().insert(id, *delta);
                    }
                    Event::Declared { customer, sku, period, quantity }
                        if period.to_string() == month_text =>
                    {
                        let latest = declared.entry((customer.to_string(), sku.to_string())).or_default();
                        *latest = (*latest).max((at, *quantity));
                    }
                    _ => {}
                }
            }
        }
    }
    let mut adjusted: Adjusted =
        adjusted.into_iter().map(|(place, all)| (place, all.values().sum())).collect();
    for (place, (_, quantity)) in declared {
        *adjusted.entry(place).or_default() += quantity.cast_signed();
    }
    (joined(single, &bonds), adjusted)
}

fn joined<'a>(
    single: BTreeMap<&'a str, Machine<'a>>,
    bonds: &BTreeMap<(String, String), (i64, bool)>,
) -> Vec<Machine<'a>> {
    let mut name: BTreeMap<&str, &str> = single.keys().map(|id| (*id, *id)).collect();
    let merged = bonds.iter().filter(|(_, (_, split))| !split).map(|(pair, _)| pair);
    for (one, other) in merged {
        let (one, other) = (name.get(one.as_str()).copied(), name.get(other.as_str()).copied());
        if let (Some(one), Some(other)) = (one, other) {
            let (least, greater) = if one < other { (one, other) } else { (other, one) };
            name.values_mut().filter(|known| **known == greater).for_each(|known| *known = least);
        }
    }
    let mut groups: BTreeMap<&str, Machine<'_>> = BTreeMap::new();
    for (id, machine) in single {
        let group = groups.entry(name[id]).or_default();
        group.reports.extend(machine.reports);
        group.owners.extend(machine.owners);
        group.retired.extend(machine.retired);
        group.switched.extend(machine.switched);
    }
    let mut machines: Vec<Machine<'_>> = groups.into_values().collect();
    for machine in &mut machines {
        machine.reports.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        machine.owners.sort();
    }
    machines
}

impl Machine<'_> {
    /// The reports of a day.
    fn on(&self, day: i64) -> &[Seen<'_>] {
        &self.reports[self.before(day)..self.before(day + 1)]
    }

    /// How many reports were observed before a day.
    fn before(&self, day: i64) -> usize {
        self.reports.partition_point(|(at, ..)| *at < day * DAY)
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

    fn counts(&self, product: &ProductId, day: i64) -> bool {
        let state = |seen: &Seen<'_>| seen.3.get(product).map(|seen| seen.state);
        if self.on(day).iter().any(|seen| state(seen) == Some(State::Active)) {
            return true;
        }
        let settles = |seen: &&Seen<'_>| state(seen) != Some(State::Unknown);
        if self.on(day).iter().any(|seen| settles(&seen)) {
            return false;
        }
        let earlier = &self.reports[..self.before(day)];
        let Some((last, ..)) = earlier.iter().rev().find(settles) else { return false };
        let mut tied =
            earlier.iter().rev().skip_while(|(at, ..)| at > last).take_while(|(at, ..)| at == last);
        let was_active = tied.any(|seen| state(seen) == Some(State::Active));
        let is_recent = day - last.div_euclid(DAY) <= PRESUME_DAYS;
        let retired = self.retired.iter().any(|at| at > last && *at <= day * DAY);
        let between = |at: i64| at >= *last && at <= day * DAY;
        let switches = self.switched.iter().filter(|(at, _, of)| between(*at) && *of == product);
        let is_off = switches.max().is_some_and(|(_, on, _)| !on);
        was_active && is_recent && !retired && !is_off
    }
}
