//! The running month that is kept counted, over the same hostile fleets, record by record: after any of them it says
//! what a close of all records so far says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatbeat_ledger::close::{CloseInput, close};
use seatbeat_ledger::month_to_date::MonthToDate;
use seatbeat_ledger::policy::Policy;
use seatbeat_ledger::record::Record;
use seatbeat_ledger::usage::{Usage, judge};

use super::random::Random;
use super::{Case, generate};

/// The months that are kept counted of one case: each is asked at its own times.
const KEPT: usize = 3;

fn counted(usage: &Usage, policy: &Policy, case: &Case, now: Timestamp) -> String {
    let period = case.period.parse().expect("a period");
    let as_of = Some(now);
    let input = CloseInput { usage, usage_elsewhere: &[], policy, period, as_of, sealed: &[] };
    close(input).expect("a month closes").to_json()
}

/// Applies a record; a report at a place that was taken is noted as a fork, as the collector's fold does.
fn apply(usage: &mut Usage, places: &mut BTreeMap<String, Timestamp>, record: &Record) {
    usage.apply(record);
    let Record::Report(report) = record else { return };
    let place = format!("{} {} {}", report.machine, report.spool, report.sequence);
    if judge(report).is_ok()
        && let Some(before) = places.insert(place, report.observed_at)
    {
        usage.note_fork(&report.machine, report.observed_at);
        usage.note_fork(&report.machine, before);
    }
}

#[test]
fn what_is_kept_counted_is_what_a_close_counts_after_every_record() {
    for seed in super::differential::seeds(1) {
        let case = generate::case(seed);
        let (mut random, mut places) = (Random::new(!seed), BTreeMap::new());
        let mut policy = Policy::parse(&case.policy).expect("a policy");
        let mut records: Vec<Record> =
            case.records.lines().map(|line| Record::parse_line(line).expect("a record")).collect();
        random.shuffle(&mut records);
        let zone = policy.zone.clone();
        let days = zone.days(case.period.parse().expect("a period"));
        let mut now = days[days.len() / 2].first;
        let mut usage = Usage::new(zone);
        let mut kept: Vec<MonthToDate> = Vec::new();
        for (number, record) in records.iter().enumerate() {
            apply(&mut usage, &mut places, record);
            if random.chance(5) {
                now = days[random.below(days.len())].first;
            }
            if random.chance(3) {
                policy.presume_days = random.below(12) as u32;
            }
            if kept.len() < KEPT && random.chance(30) {
                let period = case.period.parse().expect("a period");
                kept.push(MonthToDate::new(usage.clone(), policy.clone(), period, now));
            }
            for (place, month) in kept.iter_mut().enumerate() {
                if place > 0 && !random.chance(20) {
                    continue;
                }
                month.refresh(usage.clone(), policy.clone(), now);
                let shown = month.output().expect("a month is shown").to_json();
                assert!(
                    shown == counted(&usage, &policy, &case, now),
                    "seed {seed}, after record {number} of {}: {record:?}\n{shown}",
                    records.len()
                );
            }
        }
    }
}
