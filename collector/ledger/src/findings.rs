//! Flags, blockers and rejected reports of a period.
//! Invariant: they speak of the period's begun usage days only, and of machines by their joined id; `rejected` alone
//! names a machine as it named itself.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::{CustomerId, MachineId};

use crate::attendance::Span;
use crate::calendar::{Day, UsageDay};
use crate::machines::{Machine, Names};
use crate::record::{POOL_FLAG, Sku};
use crate::statement::{Blocker, Flag};
use crate::usage::{MachineFacts, Rejected, Switch, Usage};

/// What a close has to say beside its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What needs a look.
    pub flags: BTreeSet<Flag>,
    /// What stands in the way of sealing.
    pub blockers: BTreeSet<Blocker>,
    /// Reports that were not accepted.
    pub rejected: BTreeSet<Rejected>,
}

/// The begun usage days of a period.
#[derive(Debug, Clone, Copy)]
pub struct DayRange {
    /// The first.
    pub first: Day,
    /// The day after the last.
    pub end: Day,
}

impl DayRange {
    /// From the first of these days to the last; `None` when there is none.
    pub fn of(days: &[UsageDay]) -> Option<Self> {
        Some(Self { first: days.first()?.day, end: days.last()?.day.plus(1) })
    }

    fn contains(self, day: Day) -> bool {
        (self.first..self.end).contains(&day)
    }
}

/// What one machine's facts show without counting them.
pub fn machine_flags(usage: &Usage, machine: &Machine<'_>, range: DayRange) -> Vec<Flag> {
    let facts = machine.facts.as_ref();
    let mut flags = Vec::new();
    if facts.forked.range(range.first..range.end).next().is_some() {
        flags.push(Flag::of_machine("forked_spool", &machine.id));
    }
    if machine.agents.len() > 1 && were_both_alive(&machine.agents, range) {
        flags.push(Flag::of_machine("merged_while_both_alive", &machine.id));
    }
    for (at, flag) in &facts.flagged {
        if flag != POOL_FLAG && range.contains(usage.zone().usage_day(*at)) {
            flags.push(Flag::of_machine(flag, &machine.id));
        }
    }
    if !facts.retired.is_empty() || !facts.switches.is_empty() {
        note_active_after_end(&mut flags, usage, &machine.id, facts, range);
    }
    flags
}

/// Rule 7: active after an order to switch off, or after the machine was retired.
fn note_active_after_end(
    flags: &mut Vec<Flag>,
    usage: &Usage,
    machine: &MachineId,
    facts: &MachineFacts,
    range: DayRange,
) {
    let retired = facts.retired.first().map(|at| usage.zone().usage_day(*at));
    for (day, _) in facts.attendance.days(range.first, range.end) {
        for product in facts.attendance.products() {
            let Some(active) = facts.attendance.active(product, day) else { continue };
            if retired.is_some_and(|retired| retired < day) {
                flags.push(Flag::of_machine("active_after_retirement", machine));
            }
            // The day's earliest active report is the one that a switch on that day could not have changed.
            let switches = facts.switches.get(product);
            let latest = switches.and_then(|all| all.range(..=(active.first, Switch::On)).next_back());
            if let Some((at, Switch::Off)) = latest
                && usage.zone().usage_day(*at) < day
            {
                flags.push(Flag::active_after_switch_off(machine, product));
            }
        }
    }
}

impl Findings {
    /// Notes the rejected reports, and machines of which nothing else came.
    pub fn note_rejected(&mut self, usage: &Usage, names: &Names, range: DayRange) {
        let has_reports = |agent: &MachineId| {
            let facts = usage.machines().get(agent);
            facts.is_some_and(|facts| facts.attendance.days(range.first, range.end).next().is_some())
        };
        let mut silent: BTreeSet<&MachineId> = BTreeSet::new();
        for rejected in usage.rejected(range.first, range.end) {
            silent.insert(names.of(&rejected.machine));
            self.rejected.insert(rejected.clone());
        }
        silent.retain(|machine| !names.members(machine).any(has_reports));
        self.blockers.extend(silent.into_iter().map(|machine| Blocker::of_machine("clock_trouble", machine)));
    }

    /// Rule 11: declared above 0 for the period before and not at all for this one.
    pub fn note_declared_missing(
        &mut self,
        before: &BTreeMap<(CustomerId, Sku), u64>,
        now: &BTreeMap<(CustomerId, Sku), u64>,
    ) {
        for ((customer, sku), quantity) in before {
            if *quantity > 0 && !now.contains_key(&(customer.clone(), sku.clone())) {
                self.flags.insert(Flag::declared_missing(customer, sku));
            }
        }
    }
}

/// Whether two of these agents have spans of reports in the period that share an instant.
fn were_both_alive(agents: &[&MachineFacts], range: DayRange) -> bool {
    let span = |facts: &&MachineFacts| {
        facts.attendance.days(range.first, range.end).map(|(_, reports)| reports).reduce(Span::join)
    };
    let mut spans: Vec<Span> = agents.iter().filter_map(span).collect();
    spans.sort_by_key(|span| (span.first, span.last));
    spans.windows(2).any(|pair| pair[0].meets(pair[1]))
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn check(scenario: Scenario, flags: &[&str]) {
        assert_eq!(scenario.policy("presume_days = 60").flags(), flags);
    }

    #[test]
    fn active_on_a_later_day_than_the_switch_off_is_flagged() {
        let off = |at| Scenario::new().switched("off", at, "m", "a").report("m", "10-05 08:00", "a b");
        check(off("10-04 23:59"), &["active_after_switch_off mch_m a"]);
        check(off("01-04 23:59"), &["active_after_switch_off mch_m a"]);
        check(off("10-05 00:00"), &[]);
        check(off("10-05 09:00"), &[]);
        check(off("10-04 12:00").report("m", "10-06 08:00", "a"), &["active_after_switch_off mch_m a"]);
        check(
            Scenario::new().switched("off", "10-04 12:00", "m", "b").report("m", "10-05 08:00", "a b-"),
            &[],
        );
    }

    #[test]
    fn switched_on_by_the_report_undoes_the_switch_off() {
        let on = |at| {
            Scenario::new().switched("off", "10-03 12:00", "m", "a").switched("on", at, "m", "a").report(
                "m",
                "10-05 08:00",
                "a",
            )
        };
        check(on("10-03 11:59"), &["active_after_switch_off mch_m a"]);
        check(on("10-03 12:00"), &[]);
        check(on("10-05 08:00"), &[]);
        check(on("10-05 08:01"), &["active_after_switch_off mch_m a"]);
        check(on("10-05 07:00").switched("off", "10-05 07:30", "m", "a"), &[]);
        check(on("10-05 08:01").report("m", "10-05 09:00", "a"), &["active_after_switch_off mch_m a"]);
        check(
            on("10-04 12:00").switched("off", "10-04 13:00", "m", "a"),
            &["active_after_switch_off mch_m a"],
        );
    }

    #[test]
    fn only_reports_of_the_period_raise_flags() {
        let before = Scenario::new().switched("off", "09-03 12:00", "m", "a").report("m", "09-05 08:00", "a");
        check(before, &[]);
    }

    #[test]
    fn active_on_a_later_day_than_a_retirement_is_flagged() {
        let retired = |at| Scenario::new().retired(at, "m").report("m", "10-05 08:00", "a");
        check(retired("10-04 23:59"), &["active_after_retirement mch_m"]);
        check(retired("10-05 00:00"), &[]);
        check(retired("10-09 00:00"), &[]);
        check(Scenario::new().retired("10-04 00:00", "m").report("m", "10-05 08:00", "a-"), &[]);
        check(retired("10-05 01:00").retired("09-05 01:00", "m"), &["active_after_retirement mch_m"]);
    }

    #[test]
    fn agents_of_one_machine_that_reported_at_the_same_time_are_flagged() {
        let joined = |days: &[(&str, i32)]| {
            let merged = Scenario::new().machines("merged", "12-01 00:00", "m", "n");
            days.iter().fold(merged, |scenario, (machine, day)| scenario.reports(machine, [*day], "a"))
        };
        check(joined(&[("m", 1), ("m", 5), ("n", 3)]), &["merged_while_both_alive mch_m"]);
        check(joined(&[("m", 1), ("m", 3), ("n", 3), ("n", 9)]), &["merged_while_both_alive mch_m"]);
        check(joined(&[("m", 1), ("m", 3), ("n", 4), ("n", 9)]), &[]);
        check(joined(&[("m", 1), ("n", 4)]).report("m", "11-05 08:00", "a"), &[]);
        let three = joined(&[("m", 1), ("m", 2), ("n", 4), ("n", 6), ("o", 5)]);
        check(three.machines("merged", "10-01 00:00", "o", "n"), &["merged_while_both_alive mch_m"]);
        check(joined(&[("m", 1), ("m", 5), ("n", 3)]).machines("split", "12-01 00:00", "n", "m"), &[]);
    }

    #[test]
    fn flags_of_records_are_those_of_the_period_under_the_joined_name() {
        let flagged =
            |at, flag| Scenario::new().flagged(at, "n", flag).machines("merged", "10-01 00:00", "n", "m");
        check(flagged("10-01 00:00", "possible_clone"), &["possible_clone mch_m"]);
        check(flagged("10-31 23:59", "anything else"), &["anything else mch_m"]);
        check(flagged("09-30 23:59", "possible_clone"), &[]);
        check(flagged("11-01 00:00", "possible_clone"), &[]);
        check(flagged("10-09 00:00", "pool"), &[]);
        check(flagged("10-09 00:00", "possible_clone").cut_off("10-09 00:00"), &["possible_clone mch_m"]);
        check(flagged("10-09 00:00", "possible_clone").cut_off("10-08 23:59"), &[]);
    }

    #[test]
    fn a_fork_is_flagged_in_the_period_of_any_of_its_reports() {
        let place = ("m", "s", 7);
        let fork = |one, other, products| {
            Scenario::new().report_at(place, one, one, "a").report_at(place, other, other, products)
        };
        check(fork("10-05 08:00", "10-05 08:00", "a-"), &["forked_spool mch_m"]);
        check(fork("10-05 08:00", "09-30 08:00", "a"), &["forked_spool mch_m"]);
        check(fork("11-05 08:00", "10-31 08:00", "a"), &["forked_spool mch_m"]);
        check(fork("09-05 08:00", "09-06 08:00", "a"), &[]);
        check(fork("10-05 08:00", "10-05 08:00", "a"), &[]);
        let resent = Scenario::new().report_at(place, "10-05 08:00", "10-05 08:00", "a");
        check(resent.report_at(place, "10-05 08:00", "10-09 08:00", "a"), &[]);
        let rejected = Scenario::new().report_at(place, "10-05 08:00", "10-05 08:00", "a");
        check(rejected.report_at(place, "10-06 08:00", "10-05 08:00", "a"), &[]);
        let other = Scenario::new().report_at(place, "10-05 08:00", "10-05 08:00", "a");
        check(other.report_at(("m", "t", 7), "10-05 08:00", "10-05 08:00", "a-"), &[]);
    }

    #[test]
    fn nothing_but_rejected_reports_in_the_period_is_clock_trouble() {
        let ahead = || Scenario::new().report_at(("n", "s", 1), "10-05 08:11", "10-05 08:00", "a");
        assert_eq!(ahead().blockers(), ["clock_trouble mch_n"]);
        assert_eq!(
            ahead().assigned("09-01 00:00", "n", "acme").report("n", "10-09 00:00", "").blockers(),
            [""; 0]
        );
        let outside = ahead().assigned("09-01 00:00", "n", "acme").report("n", "09-09 00:00", "");
        assert_eq!(outside.blockers(), ["clock_trouble mch_n"]);
        let joined = ahead().machines("merged", "10-01 00:00", "m", "n");
        assert_eq!(joined.blockers(), ["clock_trouble mch_m"]);
        let rejected = joined.report("m", "10-02 00:00", "a").output().statement;
        assert_eq!(rejected.blockers, []);
        assert_eq!(rejected.rejected[0].machine.as_str(), "mch_n");
    }
}
