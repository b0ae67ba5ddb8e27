//! Coverage: of the machines that ought to be heard from, how many were, lately; and which were not.
//! Invariant: speaks of accepted reports on begun usage days of the period only, so it is the same on any later day.

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, MachineId};
use serde::{Deserialize, Serialize};

use crate::calendar::UsageDay;
use crate::machines::{Machine, Names};
use crate::owner::owner_of_day;
use crate::registry::Registry;
use crate::usage::Usage;

/// When too little was heard for a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Of a hundred machines so many have to be heard from; 0: never mind.
    pub percent: u8,
    /// On the last so many begun days of the period.
    pub days: u32,
}

/// How many machines were heard from, of those that ought to be: assigned, not retired, none of a pool, not banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Heard from.
    pub heard: u64,
    /// Of so many.
    pub expected: u64,
    /// As many of a hundred have to be.
    pub percent: u8,
    /// On the last so many begun days of the period.
    pub days: u32,
}

impl Coverage {
    /// Whether it is below what was set.
    pub fn is_low(&self) -> bool {
        self.heard.saturating_mul(100) < self.expected.saturating_mul(u64::from(self.percent))
    }
}

/// A machine that ought to be heard from and was not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Silent {
    /// Which.
    pub machine: MachineId,
    /// Whose.
    pub customer: CustomerId,
    /// When it was heard from last, by its own clock; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Timestamp>,
}

/// How many were heard from on the last of these days; `silent` is told of each other one.
pub fn coverage(
    usage: &Usage,
    registry: Option<&Registry>,
    names: &Names,
    days: &[UsageDay],
    rule: Rule,
    mut silent: impl FnMut(Silent),
) -> Coverage {
    let mut found = Coverage { heard: 0, expected: 0, percent: rule.percent, days: rule.days };
    let window = &days[days.len().saturating_sub(rule.days as usize)..];
    let (Some(first), Some(last)) = (window.first(), window.last()) else { return found };
    for machine in names.machines(usage) {
        let Some(owner) = owner_of_day(&machine.facts, last) else { continue };
        let attendance = &machine.facts.attendance;
        let heard_on = attendance.reported_days().last_before(last.day.plus(1));
        if heard_on.is_some_and(|day| day >= first.day) {
            found.expected += 1;
            found.heard += 1;
        } else if is_expected(&machine, last) && !is_banned(registry, names, &machine.id) {
            found.expected += 1;
            let heard_at = heard_on.and_then(|day| attendance.reported(day)).map(|span| span.last);
            silent(Silent { machine: machine.id.clone(), customer: owner.clone(), heard_at });
        }
    }
    found
}

/// Whether a machine that was not heard from ought to be: it was somebody's by then, and nobody gave it up.
fn is_expected(machine: &Machine<'_>, last: &UsageDay) -> bool {
    let facts = machine.facts.as_ref();
    let is_assigned = facts.assigned.first().is_some_and(|(at, _)| *at < last.end);
    let is_retired = facts.retired.range(..last.end).next_back().is_some_and(|at| {
        let heard = facts.attendance.reported_days().last_before(last.day.plus(1));
        heard.and_then(|day| facts.attendance.reported(day)).is_none_or(|span| span.last <= *at)
    });
    is_assigned && !is_retired && !facts.is_pool(last.end)
}

fn is_banned(registry: Option<&Registry>, names: &Names, machine: &MachineId) -> bool {
    let Some(registry) = registry else { return false };
    let mut known = names.members(machine).filter_map(|agent| registry.machine(agent)).peekable();
    known.peek().is_some() && known.all(|agent| agent.banned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::record_set::RecordSet;
    use crate::scenario::Scenario;

    /// `heard/expected`, whether that is too few, and who is silent.
    fn check(scenario: &Scenario, percent: u8, days: u32, expected: &str, is_low: bool, silent: &[&str]) {
        let policy = scenario.parsed_policy();
        let records = RecordSet::new(Record::parse_jsonl(scenario.records()).unwrap(), None);
        let usage = records.usage(&policy.zone);
        let october = usage.zone().days("2026-10".parse().unwrap());
        let mut names = Vec::new();
        let found = coverage(&usage, None, &Names::new(&usage), &october, Rule { percent, days }, |silent| {
            let heard = silent.heard_at.map_or("never".to_owned(), |at| at.to_string());
            names.push(format!("{} {} {heard}", silent.machine, silent.customer));
        });
        assert_eq!(format!("{}/{}", found.heard, found.expected), expected);
        assert_eq!((found.is_low(), names), (is_low, silent.iter().map(|one| (*one).to_owned()).collect()));
    }

    fn two() -> Scenario {
        Scenario::new().assigned("09-01 00:00", "n", "acme").report("m", "10-31 08:00", "a")
    }

    #[test]
    fn a_share_that_is_reached_exactly_is_enough() {
        let silent = ["mch_n cus_acme never"];
        check(&two(), 50, 7, "1/2", false, &silent);
        check(&two(), 51, 7, "1/2", true, &silent);
        check(&two(), 0, 7, "1/2", false, &silent);
        check(&Scenario::bare(), 100, 7, "0/0", false, &[]);
    }

    #[test]
    fn the_window_is_the_last_days_of_the_month_the_first_of_them_included() {
        let seen = |at: &str| two().report("n", at, "");
        check(&seen("10-25 00:00"), 100, 7, "2/2", false, &[]);
        check(&seen("10-24 23:59:59"), 100, 7, "1/2", true, &["mch_n cus_acme 2026-10-24T23:59:59Z"]);
        check(&seen("11-01 00:00"), 100, 7, "1/2", true, &["mch_n cus_acme never"]);
        check(&seen("10-01 00:00"), 100, 99, "2/2", false, &[]);
        check(&seen("10-31 00:00"), 100, 0, "0/0", false, &[]);
    }

    #[test]
    fn retired_pooled_unassigned_and_later_machines_are_not_expected() {
        check(&two().retired("10-09 08:00", "n"), 100, 7, "1/1", false, &[]);
        let back = two().retired("10-09 08:00", "n").report("n", "10-10 08:00", "a");
        check(&back, 100, 7, "1/2", true, &["mch_n cus_acme 2026-10-10T08:00:00Z"]);
        check(&two().retired("11-01 00:00", "n"), 100, 7, "1/2", true, &["mch_n cus_acme never"]);
        check(&two().flagged("10-09 08:00", "n", "pool"), 100, 7, "1/1", false, &[]);
        check(&two().report("x", "10-02 08:00", "a"), 50, 7, "1/2", false, &["mch_n cus_acme never"]);
        check(&two().assigned("11-01 00:00", "y", "acme"), 50, 7, "1/2", false, &["mch_n cus_acme never"]);
    }

    #[test]
    fn joined_machines_are_heard_from_by_any_of_their_agents() {
        check(&two().machines("merged", "10-09 00:00", "m", "n"), 100, 7, "1/1", false, &[]);
    }
}
