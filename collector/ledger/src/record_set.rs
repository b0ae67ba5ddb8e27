//! The ledger as the set it is: repeats fall together, resends keep their earliest arrival, forks are found.
//! Invariant: what comes out depends on the set of records only. The set is settled before anything is accepted
//! or folded, so `Usage` is told of each report once and of each fork by `Usage::note_fork`.
//! It holds every report in memory: meant for one run over an interchange file. A collector that takes only the
//! next report of a chain needs no such set.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use seatbeat_proto::ids::{MachineId, ProductId, SpoolId};

use crate::calendar::Zone;
use crate::record::{Entry, Record, Report, Sighting};
use crate::usage::{Usage, judge};

/// A set of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordSet {
    /// Content of each report to the instant it was first received at.
    reports: BTreeMap<Place, BTreeMap<Content, Timestamp>>,
    entries: BTreeSet<Entry>,
}

type Place = (MachineId, SpoolId, u64);
type Content = (Timestamp, BTreeMap<ProductId, Sighting>);

impl RecordSet {
    /// The set of these records; with a cut-off, of those that were known by then (rule 12).
    pub fn new(records: impl IntoIterator<Item = Record>, as_of: Option<Timestamp>) -> Self {
        let mut set = Self::default();
        for record in records {
            set.insert(record, as_of);
        }
        set
    }

    fn insert(&mut self, record: Record, as_of: Option<Timestamp>) {
        let known = |at: Timestamp| as_of.is_none_or(|cut| at <= cut);
        match record {
            Record::Report(report) if known(report.received_at) => {
                let place = (report.machine, report.spool, report.sequence);
                let content = (report.observed_at, report.products);
                let arrivals = self.reports.entry(place).or_default();
                let first = arrivals.entry(content).or_insert(report.received_at);
                *first = report.received_at.min(*first);
            }
            Record::Entry(entry) if known(entry.recorded_at) => {
                self.entries.insert(entry);
            }
            Record::Report(_) | Record::Entry(_) => {}
        }
    }

    /// What the set amounts to in a billing zone.
    pub fn usage(&self, zone: &Zone) -> Usage {
        let mut usage = Usage::new(zone.clone());
        for entry in &self.entries {
            usage.apply_entry(entry);
        }
        for ((machine, spool, sequence), contents) in &self.reports {
            let mut accepted = Vec::new();
            for ((observed_at, products), received_at) in contents {
                let report = Report {
                    machine: machine.clone(),
                    spool: spool.clone(),
                    sequence: *sequence,
                    observed_at: *observed_at,
                    received_at: *received_at,
                    products: products.clone(),
                };
                usage.apply_report(&report);
                if judge(&report).is_ok() {
                    accepted.push(*observed_at);
                }
            }
            if accepted.len() > 1 {
                for observed_at in accepted {
                    usage.note_fork(machine, observed_at);
                }
            }
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn received(pairs: &[(&str, &str)]) -> Scenario {
        pairs.iter().fold(Scenario::new().policy("presume_days = 0"), |scenario, (observed, received)| {
            scenario.report_at(("m", "s", 1), observed, received, "a")
        })
    }

    fn check(scenario: Scenario, days: &str, rejected: &[&str]) {
        assert_eq!(scenario.days("m", "acme", "A"), days);
        let statement = serde_json::to_value(scenario.output().statement).unwrap();
        let reasons: Vec<&str> = statement["rejected"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["reason"].as_str().unwrap())
            .collect();
        assert_eq!(reasons, rejected);
    }

    #[test]
    fn a_report_more_than_ten_minutes_ahead_is_rejected() {
        check(received(&[("10-05 08:10", "10-05 08:00")]), "5", &[]);
        check(received(&[("10-05 08:10:00.000000001", "10-05 08:00")]), "", &["clock_ahead"]);
    }

    #[test]
    fn a_report_more_than_62_days_old_is_rejected() {
        check(received(&[("10-05 08:00", "12-06 08:00")]), "5", &[]);
        check(received(&[("10-05 08:00", "12-06 08:00:00.000000001")]).period("2026-12"), "", &["too_old"]);
    }

    #[test]
    fn a_rejected_report_is_listed_in_the_period_in_which_it_was_received() {
        let late = || received(&[("07-05 08:00", "10-31 23:59")]);
        check(late(), "", &["too_old"]);
        check(late().period("2026-07"), "", &[]);
        check(late().period("2026-11"), "", &[]);
        let west = late().policy("zone = \"Asia/Tokyo\"").period("2026-11");
        check(west, "", &["too_old"]);
    }

    #[test]
    fn of_a_report_sent_again_the_earliest_arrival_stands() {
        check(received(&[("10-05 08:00", "10-05 08:00"), ("10-05 08:00", "12-30 08:00")]), "5", &[]);
        check(
            received(&[("10-05 08:30", "10-05 08:00"), ("10-05 08:30", "10-05 09:00")]),
            "",
            &["clock_ahead"],
        );
    }

    #[test]
    fn both_sides_of_a_fork_count() {
        check(received(&[("10-05 08:00", "10-05 08:00"), ("10-07 08:00", "10-07 08:00")]), "5 7", &[]);
    }
}
