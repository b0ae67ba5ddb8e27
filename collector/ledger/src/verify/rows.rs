//! The rows of a bundle as they come. Invariant: each section's rows are the leaves of the root that the body names;
//! a row that contradicts itself, its neighbour or the policy is named.

use std::collections::BTreeMap;

use super::recompute::recompute;
use super::{Failure, Level, Question, RowDays, month_days, parse};
use crate::body::StatementBody;
use crate::bundle::marks::{DaySet, HashText, Pseudonym};
use crate::bundle::pseudonym::Opening;
use crate::bundle::rows::{ExcludedReason, ExcludedRow, SeatRow};
use crate::bundle::{Commitment, Section};
use crate::calendar::{Day, Period};
use crate::merkle::Frontier;
use crate::policy::Policy;
use crate::tally::Tally;

/// What is known of a row that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Looked {
    /// Days that count, or are left out for a reason.
    pub days: DaySet,
    /// The pseudonyms of its agents, where there are several.
    pub agents: Vec<Pseudonym>,
    /// Days on which it says that nothing was active.
    pub not_active: DaySet,
    /// Whether it is behind a line.
    pub is_seat: bool,
    /// The reasons of days that are left out.
    pub reasons: Vec<(ExcludedReason, DaySet)>,
}

/// Rows that somebody asks for, by where they stand; none where there is no such row.
pub(super) type LookedUp = BTreeMap<(Section, Pseudonym), Option<Looked>>;

/// What all rows amount to.
#[derive(Debug)]
pub(super) struct Counted {
    pub seats: u64,
    pub excluded: u64,
    pub opened: u64,
    pub looked_up: LookedUp,
    /// Kept for a replay only.
    pub days: RowDays,
}

/// Reads the rows.
#[derive(Debug)]
pub(super) struct RowChecks {
    period: Period,
    month: DaySet,
    policy: Policy,
    /// The sections still to come, the next one last.
    expected: Vec<(Section, u64, HashText)>,
    section: Option<Open>,
    tallies: BTreeMap<Section, Tally>,
    counted: Counted,
    keeps_days: bool,
}

/// A section that is being read.
#[derive(Debug)]
struct Open {
    section: Section,
    machines: u64,
    root: HashText,
    tree: Frontier,
    last: Option<Pseudonym>,
    tally: Tally,
}

impl RowChecks {
    pub fn new(body: &StatementBody, question: &Question, found: &mut Vec<Failure>) -> Result<Self, Failure> {
        let evidence = body.evidence.as_ref().ok_or(Failure::NoEvidence)?;
        let policy = Policy::from_public(&body.policy).map_err(|error| Failure::Body(error.to_string()))?;
        if body.rules_version != crate::RULES_VERSION {
            found.push(Failure::Rules { found: body.rules_version, ours: crate::RULES_VERSION });
        }
        let (period, days) = month_days(body);
        let asked = question.sample.iter().filter(|_| question.level >= Level::Sampled);
        let looked_up = asked
            .flat_map(|sample| sample.openings())
            .map(|opening| ((opening.section.clone(), opening.pseudonym()), None));
        Ok(Self {
            period,
            month: DaySet::of(period, days.iter().map(|day| day.day)),
            policy,
            expected: expected(evidence),
            section: None,
            tallies: BTreeMap::new(),
            counted: Counted {
                seats: 0,
                excluded: 0,
                opened: 0,
                looked_up: looked_up.collect(),
                days: RowDays::new(),
            },
            keeps_days: question.level >= Level::Replayed,
        })
    }

    /// A section begins; the one before it ends.
    pub fn begin(&mut self, line: u64, section: Section, found: &mut Vec<Failure>) -> Result<(), Failure> {
        self.end_section(found);
        while let Some((expected, machines, root)) = self.expected.pop() {
            if expected == section {
                self.section = Some(Open {
                    section,
                    machines,
                    root,
                    tree: Frontier::default(),
                    last: None,
                    tally: Tally::new(self.period),
                });
                return Ok(());
            }
            found.push(Failure::MissingSection { section: expected });
        }
        let expected = "the end".to_owned();
        Err(Failure::Section { line, found: section.to_string(), expected })
    }

    /// A row of the section that is being read.
    pub fn row(&mut self, line: u64, text: &[u8], found: &mut Vec<Failure>) -> Result<(), Failure> {
        let Some(mut open) = self.section.take() else {
            let (found, expected) = ("a row".to_owned(), "the beginning of a section".to_owned());
            return Err(Failure::Section { line, found, expected });
        };
        open.tree.append(text);
        let place = Place { line, section: &open.section };
        let machine = match &open.section {
            Section::Line { .. } => {
                let row: SeatRow = parse(line, text, "the row of a machine")?;
                self.check_seat(place, &row, found);
                open.tally.add(row.confirmed, row.presumed);
                self.note_seat(&open.section, &row);
                row.machine
            }
            Section::Excluded {} => {
                let row: ExcludedRow = parse(line, text, "the row of an excluded machine")?;
                self.check_excluded(place, &row, found);
                self.note_excluded(&row);
                row.machine
            }
        };
        let section = || open.section.clone();
        match open.last {
            Some(last) if last == machine => found.push(Failure::Twice { line, section: section(), machine }),
            Some(last) if last > machine => found.push(Failure::Order { line, section: section(), machine }),
            _ => {}
        }
        open.last = Some(machine);
        self.section = Some(open);
        Ok(())
    }

    fn check_seat(&self, place: Place<'_>, row: &SeatRow, found: &mut Vec<Failure>) {
        let Place { line, section } = place;
        let (section, machine) = (section.clone(), row.machine);
        let Section::Line { sku, .. } = &section else { return };
        let rule = self.policy.rule(sku);
        let all = row.confirmed.union(row.presumed);
        let Some(first_day) = all.days(self.period).next() else {
            found.push(Failure::NoDay { line, section, machine });
            return;
        };
        if let Some(day) = row.confirmed.common(row.presumed).days(self.period).next() {
            found.push(Failure::Both { line, section, machine, day: day.date() });
        } else if !all.without(self.month).is_empty() {
            found.push(Failure::NotInMonth { line, section, machine });
        } else if row.first > first_day.date() {
            let (day, first) = (first_day.date(), row.first);
            found.push(Failure::First { line, section, machine, day, first });
        } else if row.confirmed.count() < rule.min_days {
            let (days, wanted) = (row.confirmed.count(), rule.min_days);
            found.push(Failure::MinDays { line, section, machine, days, wanted });
        } else if rule.free_first_month && Day::of(row.first) >= self.period.first_day() {
            found.push(Failure::FreeMonth { line, section, machine });
        }
    }

    fn check_excluded(&self, place: Place<'_>, row: &ExcludedRow, found: &mut Vec<Failure>) {
        let Place { line, section } = place;
        let (section, machine) = (section.clone(), row.machine);
        for excluded in &row.reasons {
            let rule = excluded.sku.as_ref().map(|sku| self.policy.rule(sku));
            let is_known = match excluded.reason {
                ExcludedReason::MinDays => rule.is_some_and(|rule| rule.min_days > 0),
                ExcludedReason::FreeFirstMonth => rule.is_some_and(|rule| rule.free_first_month),
                ExcludedReason::Suspended => rule.is_some(),
                _ => excluded.sku.is_none(),
            };
            if !is_known {
                let reason = excluded.reason.as_str();
                found.push(Failure::Reason { line, section: section.clone(), machine, reason });
            }
            if !excluded.days.without(self.month).is_empty() || excluded.days.is_empty() {
                found.push(Failure::NotInMonth { line, section: section.clone(), machine });
            }
        }
        if row.reasons.is_empty() {
            found.push(Failure::NoDay { line, section, machine });
        }
    }

    fn note_seat(&mut self, section: &Section, row: &SeatRow) {
        self.counted.seats += 1;
        if self.keeps_days {
            let days = self.counted.days.entry(section.clone()).or_default();
            days.push((row.confirmed, row.presumed));
        }
        if let Some(asked) = self.counted.looked_up.get_mut(&(section.clone(), row.machine)) {
            *asked = Some(Looked {
                days: row.confirmed.union(row.presumed),
                agents: row.agents.clone(),
                not_active: DaySet::default(),
                is_seat: true,
                reasons: Vec::new(),
            });
        }
    }

    fn note_excluded(&mut self, row: &ExcludedRow) {
        self.counted.excluded += 1;
        let Some(asked) = self.counted.looked_up.get_mut(&(Section::Excluded {}, row.machine)) else {
            return;
        };
        let union = |of: &dyn Fn(ExcludedReason) -> bool| {
            let some = row.reasons.iter().filter(|excluded| of(excluded.reason));
            some.fold(DaySet::default(), |all, excluded| all.union(excluded.days))
        };
        *asked = Some(Looked {
            days: union(&|_| true),
            agents: row.agents.clone(),
            not_active: union(&|reason| reason == ExcludedReason::NotActive),
            is_seat: false,
            reasons: row.reasons.iter().map(|excluded| (excluded.reason, excluded.days)).collect(),
        });
    }

    /// Opens the pseudonym of the row before it.
    pub fn opened(&mut self, line: u64, opening: &Opening, found: &mut Vec<Failure>) {
        self.counted.opened += 1;
        let is_of_row = self
            .section
            .as_ref()
            .is_some_and(|open| open.section == opening.section && open.last == Some(opening.pseudonym()));
        if !is_of_row {
            let (machine, section) = (opening.machine.to_string(), opening.section.clone());
            found.push(Failure::Opened { line, machine, section });
        }
    }

    fn end_section(&mut self, found: &mut Vec<Failure>) {
        let Some(open) = self.section.take() else { return };
        let Open { section, machines, root, tree, tally, .. } = open;
        if tree.size() != machines {
            found.push(Failure::Machines { section: section.clone(), told: machines, found: tree.size() });
        } else if tree.root() != root.0 {
            found.push(Failure::Root { section: section.clone() });
        }
        if matches!(section, Section::Line { .. }) {
            self.tallies.insert(section, tally);
        }
    }

    /// What all rows amount to; computes the statement again.
    pub fn finish(mut self, body: &StatementBody, found: &mut Vec<Failure>) -> Counted {
        self.end_section(found);
        for (section, _, _) in self.expected.drain(..).rev() {
            found.push(Failure::MissingSection { section });
        }
        recompute(body, &self.policy, &self.tallies, found);
        self.counted
    }
}

#[derive(Clone, Copy)]
struct Place<'a> {
    line: u64,
    section: &'a Section,
}

fn expected(evidence: &Commitment) -> Vec<(Section, u64, HashText)> {
    let lines = evidence.lines.iter();
    let lines = lines.map(|line| (Section::line(&line.customer, &line.sku), line.machines, line.root));
    let excluded = (Section::Excluded {}, evidence.excluded.machines, evidence.excluded.root);
    let mut all: Vec<(Section, u64, HashText)> = lines.chain([excluded]).collect();
    all.reverse();
    all
}
