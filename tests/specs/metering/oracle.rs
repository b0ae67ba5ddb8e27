//! The slow, obvious meter: every machine-day of every product is worked out from scratch.
//! One function per numbered rule; nothing is remembered between two questions but the first instants of days.

mod calendar;
mod days;
mod late;
mod marks;
mod money;
mod policy;
mod quantity;
mod records;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Map, Value, json};

use super::Case;
use calendar::Calendar;
pub(super) use calendar::{days_of, period_before};
use money::Line;
use policy::Policy;
use records::{Fact, Report};

/// A flag or a blocker: its fields in the order they are shown and sorted by.
type Mark = Vec<(&'static str, String)>;

/// (customer, sku).
type Account = (String, String);

/// Statement and earnings for a case, in the contract's shape.
pub(super) fn meter(case: &Case) -> Value {
    let policy = Policy::read(&case.policy);
    let world = World::new(case, &policy);
    let sealed: Vec<Value> = match &case.sealed {
        Some(text) => serde_json::from_str(text).expect("sealed is a JSON array"),
        None => Vec::new(),
    };
    let mut lines = world.lines(&case.period);
    money::rule_14_money(&policy, &mut lines);
    let earnings: Vec<Value> =
        lines.iter().filter_map(|(account, line)| money::earning(&policy, account, line)).collect();
    json!({
        "statement": {
            "period": case.period,
            "zone": policy.zone,
            "lines": lines.iter().map(|(account, line)| money::shown_line(account, line)).collect::<Vec<_>>(),
            "corrections": late::rule_13_late_evidence(case, &policy, &sealed),
            "totals": money::totals(&lines),
            "flags": shown(&world.flags(&case.period)),
            "blockers": shown(&world.blockers(&case.period, &lines)),
            "rejected": world.rejected(&case.period),
        },
        "earnings": earnings,
    })
}

fn shown(marks: &BTreeSet<Mark>) -> Vec<Value> {
    let object = |mark: &Mark| {
        let fields = mark.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.clone())));
        Value::Object(fields.collect::<Map<_, _>>())
    };
    marks.iter().map(object).collect()
}

/// What a product or suite of an owner is billed as (rule 6).
#[derive(Clone, Debug, PartialEq)]
enum Mapping {
    Sku(String),
    NotBilled,
    Uncounted,
    Unmapped,
}

/// What rule 3 says of a machine-day that is not confirmed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Presumption {
    Presumed,
    /// Only `presume_days` stands in the way.
    TooLongSilent,
    No,
}

#[derive(Clone, Debug)]
struct CountedDay {
    machine: String,
    sku: String,
    day: Date,
    customer: String,
    confirmed: bool,
}

/// All that is known at the cut-off, and nothing derived from it.
struct World<'a> {
    policy: &'a Policy,
    calendar: Calendar,
    as_of: Option<Timestamp>,
    accepted: Vec<Report>,
    refused: Vec<Report>,
    facts: Vec<Fact>,
}

impl<'a> World<'a> {
    /// Rule 12, first half: what was not yet known at the cut-off is ignored.
    fn new(case: &Case, policy: &'a Policy) -> World<'a> {
        let calendar = Calendar::new(&policy.zone);
        let (reports, facts) = records::read(&case.records, case.as_of, &calendar);
        let (accepted, refused) = reports.into_iter().partition(|report| report.refusal().is_none());
        World { policy, calendar, as_of: case.as_of, accepted, refused, facts }
    }

    /// Rule 12, second half: the period's usage days that have begun.
    fn rule_12_days(&self, period: &str) -> Vec<Date> {
        self.calendar.usage_days(period).into_iter().filter(|day| self.has_begun(*day)).collect()
    }

    fn has_begun(&self, day: Date) -> bool {
        self.as_of.is_none_or(|as_of| self.calendar.first_instant(day) <= as_of)
    }

    fn in_period(&self, instant: Timestamp, period: &str) -> bool {
        self.rule_12_days(period).contains(&self.calendar.day_of(instant))
    }

    fn facts<'b>(&'b self, kind: &'b str) -> impl Iterator<Item = &'b Fact> {
        self.facts.iter().filter(move |fact| fact.kind == kind)
    }

    fn machines(&self) -> BTreeSet<String> {
        self.accepted.iter().map(|report| report.joined.clone()).collect()
    }

    fn reports_of<'b>(&'b self, machine: &'b str) -> impl Iterator<Item = &'b Report> {
        self.accepted.iter().filter(move |report| report.joined == machine)
    }

    fn reports_on<'b>(&'b self, machine: &'b str, day: Date) -> impl Iterator<Item = &'b Report> {
        self.reports_of(machine).filter(move |report| report.day == day)
    }

    fn products_of(&self, machine: &str) -> BTreeSet<String> {
        self.reports_of(machine).flat_map(|report| report.products.keys().cloned()).collect()
    }
}
