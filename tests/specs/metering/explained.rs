//! What a line is explained with, over the same hostile fleets: it measures to exactly the line, and whoever was seen is
//! counted somewhere or has a reason.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_ledger::calendar::{Period, UsageDay};
use seatbeat_ledger::close::{CloseInput, close};
use seatbeat_ledger::explain::{Asked, MachineTold, Of, SeatTold, explain};
use seatbeat_ledger::machines::Names;
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::owner::owner_of_day;
use seatbeat_ledger::policy::{Count, Policy};
use seatbeat_ledger::record::Record;
use seatbeat_ledger::record_set::RecordSet;
use seatbeat_ledger::statement::Line;
use seatbeat_ledger::usage::Usage;
use seatbeat_proto::ids::MachineId;

use super::{Case, generate};

/// A case that was counted.
struct Counted {
    case: Case,
    usage: Usage,
    policy: Policy,
    period: Period,
    lines: Vec<Line>,
    days: Vec<UsageDay>,
}

impl Counted {
    fn of(case: Case) -> Self {
        let policy = Policy::parse(&case.policy).expect("a policy");
        let period: Period = case.period.parse().expect("a period");
        let records = Record::parse_jsonl(&case.records).expect("records");
        let usage = RecordSet::new(records, case.as_of).usage(&policy.zone);
        let input = CloseInput {
            usage: &usage,
            usage_elsewhere: &[],
            policy: &policy,
            period,
            as_of: case.as_of,
            sealed: &[],
        };
        let lines = close(input).expect("a month closes").statement.lines;
        let mut days = usage.zone().days(period);
        days.retain(|day| case.as_of.is_none_or(|cut| day.first <= cut));
        Self { case, usage, policy, period, lines, days }
    }

    /// All pages, some machines at a time.
    fn told(&self, of: &Of, size: usize) -> Vec<MachineTold> {
        let (mut all, mut after): (Vec<MachineTold>, Option<MachineId>) = (Vec::new(), None);
        loop {
            let found = explain(Asked {
                usage: &self.usage,
                policy: &self.policy,
                period: self.period,
                as_of: self.case.as_of,
                lines: &self.lines,
                of,
                after: after.as_ref(),
                size,
            });
            assert!(found.machines.len() <= size, "a page is too long");
            all.extend(found.machines);
            match found.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    }

    /// The line's measure, worked out from what it is explained with.
    fn measured(&self, line: &Line, seats: &[&SeatTold]) -> (Quantity, Quantity) {
        let on = |day: u8| {
            let confirmed = seats.iter().filter(|seat| seat.confirmed.contains(&day)).count();
            let presumed = seats.iter().filter(|seat| seat.presumed.contains(&day)).count();
            (confirmed as u64, presumed as u64)
        };
        let (confirmed, presumed) = match line.count {
            Count::HighWater => {
                let levels = self.days.iter().map(|day| on(number(day)));
                let most = levels.map(|(confirmed, presumed)| confirmed + presumed).max().unwrap_or(0);
                let named = line.day.map_or((0, 0), |day| on(day.day().unsigned_abs()));
                assert_eq!(named.0 + named.1, most, "another day has more");
                named
            }
            Count::MonthEnd => self.days.last().map_or((0, 0), |day| on(number(day))),
            Count::Distinct => {
                let seen = seats.iter().filter(|seat| !seat.confirmed.is_empty()).count() as u64;
                (seen, seats.len() as u64 - seen)
            }
            Count::Average => {
                let month = self.usage.zone().days(self.period).len() as u64;
                let sum = |days: fn(&SeatTold) -> usize| seats.iter().map(|seat| days(seat) as u64).sum();
                let confirmed = Quantity::average(sum(|seat| seat.confirmed.len()), month);
                let all = Quantity::average(sum(|seat| seat.confirmed.len() + seat.presumed.len()), month);
                return (confirmed, all);
            }
        };
        (Quantity::units(confirmed), Quantity::units(confirmed + presumed))
    }

    /// The machines that sent an accepted report in the period, and who owned them when they did.
    fn seen(&self) -> BTreeMap<MachineId, BTreeSet<String>> {
        let names = Names::new(&self.usage);
        let mut seen: BTreeMap<MachineId, BTreeSet<String>> = BTreeMap::new();
        for machine in names.machines(&self.usage) {
            for day in &self.days {
                if machine.facts.attendance.reported(day.day).is_some() {
                    let owners = seen.entry(machine.id.clone()).or_default();
                    owners.extend(owner_of_day(&machine.facts, day).map(ToString::to_string));
                }
            }
        }
        seen
    }
}

fn number(day: &UsageDay) -> u8 {
    day.day.date().day().unsigned_abs()
}

#[test]
fn what_explains_a_line_measures_to_it_and_whoever_was_seen_is_counted_or_has_a_reason() {
    for seed in super::differential::seeds(1) {
        let counted = Counted::of(generate::case(seed));
        let size = 1 + seed as usize % 4;
        let seen = counted.seen();
        let mut settled: BTreeSet<MachineId> = BTreeSet::new();
        for line in &counted.lines {
            let of = Of::Line(line.customer.clone(), line.sku.clone());
            let machines = counted.told(&of, size);
            let is_it = |seat: &&SeatTold| seat.customer == line.customer && seat.sku == line.sku;
            let seats: Vec<&SeatTold> = machines.iter().flat_map(|one| &one.seats).filter(is_it).collect();
            let (confirmed, measured) = counted.measured(line, &seats);
            assert_eq!(
                (confirmed, measured),
                (line.confirmed, line.measured),
                "seed {seed}: {line:?}\n{machines:#?}"
            );
            let in_it = seats.iter().filter(|seat| seat.counts).count() as u64;
            if line.count != Count::Average {
                assert_eq!(Quantity::units(in_it), measured, "seed {seed}: {line:?}");
            }
            let told: BTreeSet<&MachineId> = machines.iter().map(|one| &one.machine).collect();
            for (machine, owners) in &seen {
                let is_its = owners.contains(line.customer.as_str());
                assert!(
                    !is_its || told.contains(machine),
                    "seed {seed}: {machine} is not told of in {line:?}"
                );
            }
            for one in &machines {
                let counts = one.seats.iter().any(|seat| seat.counts);
                assert!(counts || !one.reasons.is_empty(), "seed {seed}: nothing is said of {one:?}");
                if one.seats.iter().any(|seat| seat.counts) {
                    settled.insert(one.machine.clone());
                }
            }
        }
        let unbilled = counted.told(&Of::Unbilled(None), size);
        settled.extend(unbilled.into_iter().map(|one| one.machine));
        for machine in seen.keys() {
            assert!(
                settled.contains(machine),
                "seed {seed}: {machine} was seen, and is neither counted nor told why"
            );
        }
    }
}
