//! The ledger as the set it is: repeats fall together, resends keep their earliest arrival, forks are found.
//! Invariant: what comes out depends on the set of records only. The set is settled before anything is accepted
//! or folded, so `Usage` is told of each report once and of each fork by `Usage::note_fork`.
//! It holds every report in memory, equal lists of products once: meant for one run over an interchange file.
//! A collector that takes only the next report of a chain needs no such set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use seatbeat_proto::ids::{MachineId, ProductId, SpoolId};

use crate::calendar::Zone;
use crate::record::{Entry, Record, Report, Sighting};
use crate::record_line::RecordError;
use crate::usage::{Usage, judge};

/// A set of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordSet {
    /// Sorted by all but the arrival, which is the earliest.
    reports: Vec<Kept>,
    entries: BTreeSet<Entry>,
}

/// A report; the order of its fields puts the same place, then the same content together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    machine: MachineId,
    spool: SpoolId,
    sequence: u64,
    observed_at: Timestamp,
    products: Arc<Products>,
    received_at: Timestamp,
}

type Products = BTreeMap<ProductId, Sighting>;

impl RecordSet {
    /// The set of these records; with a cut-off, of those that were known by then (rule 12).
    pub fn new(records: impl IntoIterator<Item = Record>, as_of: Option<Timestamp>) -> Self {
        let (mut set, mut shared) = (Self::default(), BTreeSet::new());
        records.into_iter().for_each(|record| set.insert(record, as_of, &mut shared));
        set.settled()
    }

    /// The set of the records of an interchange file, every line of which must be one, known by then or not.
    pub fn parse_jsonl(text: &str, as_of: Option<Timestamp>) -> Result<Self, RecordError> {
        let (mut set, mut shared) = (Self::default(), BTreeSet::new());
        for record in Record::each_of_jsonl(text) {
            set.insert(record?, as_of, &mut shared);
        }
        Ok(set.settled())
    }

    fn insert(&mut self, record: Record, as_of: Option<Timestamp>, shared: &mut BTreeSet<Arc<Products>>) {
        let known = |at: Timestamp| as_of.is_none_or(|cut| at <= cut);
        match record {
            Record::Report(report) if known(report.received_at) => {
                let products = shared.get(&report.products).cloned().unwrap_or_else(|| {
                    let products = Arc::new(report.products);
                    shared.insert(Arc::clone(&products));
                    products
                });
                let Report { machine, spool, sequence, observed_at, received_at, .. } = report;
                self.reports.push(Kept { machine, spool, sequence, observed_at, products, received_at });
            }
            Record::Entry(entry) if known(entry.recorded_at) => {
                self.entries.insert(entry);
            }
            Record::Report(_) | Record::Entry(_) => {}
        }
    }

    /// Of reports that differ only in their arrival the earliest stays.
    fn settled(mut self) -> Self {
        self.reports.sort_unstable();
        self.reports.dedup_by(|later, first| {
            later.is_at_place_of(first)
                && later.observed_at == first.observed_at
                && later.products == first.products
        });
        self
    }

    /// What the set amounts to in a billing zone.
    pub fn usage(&self, zone: &Zone) -> Usage {
        let mut usage = Usage::new(zone.clone());
        for entry in &self.entries {
            usage.apply_entry(entry);
        }
        for reports in self.reports.chunk_by(Kept::is_at_place_of) {
            let mut accepted = Vec::new();
            for kept in reports {
                let report = kept.report();
                usage.apply_report(&report);
                if judge(&report).is_ok() {
                    accepted.push(report.observed_at);
                }
            }
            if accepted.len() > 1 {
                accepted.into_iter().for_each(|at| usage.note_fork(&reports[0].machine, at));
            }
        }
        usage
    }
}

impl Kept {
    fn is_at_place_of(&self, other: &Self) -> bool {
        (&self.machine, &self.spool, self.sequence) == (&other.machine, &other.spool, other.sequence)
    }

    fn report(&self) -> Report {
        Report {
            machine: self.machine.clone(),
            spool: self.spool.clone(),
            sequence: self.sequence,
            observed_at: self.observed_at,
            received_at: self.received_at,
            products: Products::clone(&self.products),
        }
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
