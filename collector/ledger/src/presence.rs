//! Rules 2 and 3: whether a machine uses a product on a day, seen or presumed.
//! Invariant: only an accepted report of that day confirms; only a settling report before it lets presume.

use jiff::Timestamp;
use seatbeat_proto::ids::ProductId;

use crate::calendar::{MonthDays, UsageDay};
use crate::usage::{MachineFacts, Switch};

/// A product on a machine-day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Seen active that day.
    Confirmed,
    /// Not seen, but still taken to be in use.
    Presumed,
    /// Would be presumed, had the machine not been silent for too long.
    WentSilent,
    /// Not in use.
    Absent,
}

/// Whether the machine uses the product on that day.
pub fn presence(facts: &MachineFacts, product: &ProductId, day: &UsageDay, presume_days: u32) -> Presence {
    let attendance = &facts.attendance;
    if attendance.active(product, day.day).is_some() {
        return Presence::Confirmed;
    }
    if attendance.settled(product, day.day).is_some() {
        return Presence::Absent;
    }
    let Some((settled_day, settled_at)) = attendance.settled_before(product, day.day) else {
        return Presence::Absent;
    };
    // An active report settles too, so the last active one is the last settling one or a report tied with it.
    let ended_active =
        attendance.active(product, settled_day).is_some_and(|reports| reports.last == settled_at);
    if !ended_active || end_between(facts, product, settled_at, day.first).is_some() {
        return Presence::Absent;
    }
    if day.day.days_since(settled_day) > i64::from(presume_days) {
        return Presence::WentSilent;
    }
    Presence::Presumed
}

/// A product on a machine over the days of a month, as bits from the first day on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MonthPresence {
    /// Seen active.
    pub confirmed: u32,
    /// Not seen, but still taken to be in use.
    pub presumed: u32,
    /// Would be presumed, had the machine not been silent for too long.
    pub went_silent: u32,
}

/// As [`presence`], for all days of a month at once.
pub fn month_presence(
    facts: &MachineFacts,
    product: &ProductId,
    month: &MonthDays<'_>,
    presume_days: u32,
) -> MonthPresence {
    let attendance = &facts.attendance;
    let confirmed = attendance.active_from(product, month.first()) & month.begun();
    let mut found = MonthPresence { confirmed, ..MonthPresence::default() };
    if month.has_untold(attendance) {
        for (bit, day) in month.days_of(month.begun() & !confirmed) {
            found.note(bit, presence(facts, product, day, presume_days));
        }
        return found;
    }
    // Each report of these days settles every product: between two reported days the latter's word stands.
    let reported = attendance.reported_days().from(month.first());
    let mut silent = month.begun() & !reported;
    let may_be_ended =
        !facts.retired.is_empty() || !facts.flagged.is_empty() || facts.switches.contains_key(product);
    while silent != 0 {
        let start = silent.trailing_zeros();
        let length = (!(u64::from(silent) >> start)).trailing_zeros().min(32 - start);
        let run = (((1u64 << length) - 1) << start) as u32;
        silent &= !run;
        let first = month.first().plus(start as i32);
        let Some(settled) = attendance.reported_days().last_before(first) else { continue };
        if !attendance.ended_active(product, settled) {
            continue;
        }
        if may_be_ended {
            for (bit, day) in month.days_of(run) {
                found.note(bit, presence(facts, product, day, presume_days));
            }
            continue;
        }
        let away = first.days_since(settled);
        let presumed_days = (i64::from(presume_days) + 1 - away).clamp(0, 32) as u32;
        let presumed = run & ((((1u64 << presumed_days) - 1) << start) as u32);
        found.presumed |= presumed;
        found.went_silent |= run & !presumed;
    }
    found
}

impl MonthPresence {
    fn note(&mut self, bit: u32, presence: Presence) {
        match presence {
            Presence::Confirmed => self.confirmed |= bit,
            Presence::Presumed => self.presumed |= bit,
            Presence::WentSilent => self.went_silent |= bit,
            Presence::Absent => {}
        }
    }
}

/// What other than a report says that a use has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The machine was retired.
    Retired,
    /// It carried out an order to switch the product off.
    SwitchedOff,
    /// It is one of a pool.
    Pool,
}

/// What alone keeps a product from being presumed on a silent day; `None`: it is presumed, or something else does.
pub fn ended_by(facts: &MachineFacts, product: &ProductId, day: &UsageDay, presume_days: u32) -> Option<End> {
    let attendance = &facts.attendance;
    if attendance.settled(product, day.day).is_some() {
        return None;
    }
    let (settled_day, settled_at) = attendance.settled_before(product, day.day)?;
    let ended_active =
        attendance.active(product, settled_day).is_some_and(|reports| reports.last == settled_at);
    let is_lately = day.day.days_since(settled_day) <= i64::from(presume_days);
    if ended_active && is_lately { end_between(facts, product, settled_at, day.first) } else { None }
}

/// What other than a report says that the use has ended between a report and a day's first instant.
fn end_between(
    facts: &MachineFacts,
    product: &ProductId,
    report: Timestamp,
    first: Timestamp,
) -> Option<End> {
    let is_retired = facts.retired.range(..=first).next_back().is_some_and(|at| *at > report);
    if is_retired {
        Some(End::Retired)
    } else if is_switched_off(facts, product, report, first) {
        Some(End::SwitchedOff)
    } else {
        facts.is_pool(first).then_some(End::Pool)
    }
}

fn is_switched_off(facts: &MachineFacts, product: &ProductId, report: Timestamp, first: Timestamp) -> bool {
    let Some(switches) = facts.switches.get(product) else { return false };
    // On sorts after off: at one instant on is the later.
    let latest = switches.range(..=(first, Switch::On)).next_back();
    latest.is_some_and(|(at, switch)| *at >= report && *switch == Switch::Off)
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn check(scenario: Scenario, days: &str) {
        assert_eq!(scenario.days("m", "acme", "A"), days);
    }

    fn three() -> Scenario {
        Scenario::new().policy("presume_days = 3")
    }

    #[test]
    fn a_day_is_confirmed_by_any_active_report_even_if_a_later_one_is_not() {
        check(three().report("m", "10-05 08:00", "a").report("m", "10-05 09:00", "a-"), "5");
        check(three().report("m", "10-05 08:00", "a-").report("m", "10-05 09:00", "a"), "5 6p 7p 8p");
        check(three().report("m", "10-05 08:00", "a- b"), "");
        check(three().report("m", "10-05 08:00", "a!"), "");
        check(three().report("m", "10-05 08:00", "a?"), "");
    }

    #[test]
    fn a_silent_machine_is_presumed_for_presume_days() {
        check(three().report("m", "10-05 08:00", "a"), "5 6p 7p 8p");
        check(three().policy("").report("m", "09-29 23:59", "a"), "1p 2p");
        check(Scenario::new().report("m", "10-05 08:00", "a"), "5 6p 7p 8p 9p 10p 11p 12p");
        check(Scenario::new().policy("presume_days = 0").report("m", "10-05 08:00", "a"), "5");
        check(three().report("m", "10-30 08:00", "a"), "30 31p");
    }

    #[test]
    fn a_day_with_a_settling_report_is_not_presumed() {
        check(three().report("m", "10-05 08:00", "a").report("m", "10-06 08:00", "a-"), "5");
        check(three().report("m", "10-05 08:00", "a").report("m", "10-06 08:00", ""), "5");
        check(three().report("m", "10-05 08:00", "a").report("m", "10-07 08:00", "b"), "5 6p");
    }

    #[test]
    fn unknown_settles_nothing_but_what_it_leaves_out_is_settled() {
        check(three().report("m", "10-05 08:00", "a").report("m", "10-06 08:00", "a?"), "5 6p 7p 8p");
        check(three().report("m", "10-05 08:00", "a").report("m", "10-06 08:00", "b?"), "5");
        let both = three().report("m", "10-05 08:00", "a").report("m", "10-06 08:00", "a?");
        check(both.report("m", "10-06 07:00", ""), "5");
        let same_day = three().report("m", "10-05 08:00", "a").report("m", "10-05 09:00", "a?");
        check(same_day, "5 6p 7p 8p");
    }

    #[test]
    fn of_settling_reports_at_one_instant_any_active_one_will_do() {
        check(three().report("m", "10-05 08:00", "a").report("m", "10-05 08:00", "a-"), "5 6p 7p 8p");
        check(three().report("m", "10-05 08:00", "a").report("m", "10-05 08:00:00.000000001", "a-"), "5");
    }

    #[test]
    fn the_days_of_silence_run_from_the_settling_report_s_usage_day() {
        let berlin = Scenario::new().policy("zone = \"Europe/Berlin\"\npresume_days = 1");
        check(berlin.report("m", "10-05 22:00", "a"), "6 7p");
        let berlin = Scenario::new().policy("zone = \"Europe/Berlin\"\npresume_days = 1");
        check(berlin.report("m", "10-05 21:59", "a"), "5 6p");
    }

    #[test]
    fn a_retirement_ends_it_after_the_report_and_by_the_day_s_first_instant() {
        let retired = |at| three().report("m", "10-05 08:00", "a").retired(at, "m");
        check(retired("10-05 08:00"), "5 6p 7p 8p");
        check(retired("10-05 08:00:00.000000001"), "5");
        check(retired("10-06 00:00"), "5");
        check(retired("10-06 00:00:01"), "5 6p");
        check(retired("10-07 00:00"), "5 6p");
        check(retired("10-05 09:00").report("m", "10-07 08:00", "a"), "5 7 8p 9p 10p");
    }

    #[test]
    fn the_latest_switch_since_the_report_decides_on_winning_a_tie() {
        let off = |at| three().report("m", "10-05 08:00", "a").switched("off", at, "m", "a");
        check(off("10-05 07:59"), "5 6p 7p 8p");
        check(off("10-05 08:00"), "5");
        check(off("10-06 00:00"), "5");
        check(off("10-06 00:01"), "5 6p");
        check(off("10-05 09:00").switched("on", "10-05 09:00", "m", "a"), "5 6p 7p 8p");
        check(off("10-05 09:00").switched("on", "10-06 09:00", "m", "a"), "5 7p 8p");
        check(off("10-05 09:00").switched("on", "10-05 08:30", "m", "a"), "5");
        check(off("10-05 09:00").switched("on", "10-06 09:00", "m", "b"), "5");
        check(three().report("m", "10-05 08:00", "a").switched("off", "10-05 09:00", "m", "b"), "5 6p 7p 8p");
    }

    #[test]
    fn a_machine_of_a_pool_is_never_presumed_from_then_on() {
        let pool = |at| three().report("m", "10-05 08:00", "a").flagged(at, "m", "pool");
        check(pool("09-01 00:00"), "5");
        check(pool("10-07 00:00"), "5 6p");
        check(pool("10-07 00:01"), "5 6p 7p");
        check(three().report("m", "10-05 08:00", "a").flagged("09-01 00:00", "m", "poolish"), "5 6p 7p 8p");
    }

    #[test]
    fn joined_machines_answer_for_each_other() {
        let joined = || three().report("m", "10-05 08:00", "a").machines("merged", "10-30 00:00", "m", "n");
        check(joined(), "5 6p 7p 8p");
        check(joined().report("n", "10-06 08:00", ""), "5");
        check(joined().report("n", "10-05 08:00", ""), "5 6p 7p 8p");
        check(joined().report("n", "10-07 08:00", "a"), "5 6p 7 8p 9p 10p");
        check(joined().retired("10-06 12:00", "n"), "5 6p");
        check(joined().switched("off", "10-06 12:00", "n", "a"), "5 6p");
        check(joined().flagged("10-06 12:00", "n", "pool"), "5 6p");
    }

    #[test]
    fn only_presume_days_in_the_way_is_went_silent() {
        let silent = |flags: &[&str], scenario: Scenario| assert_eq!(scenario.flags(), flags);
        silent(&["went_silent mch_m"], three().report("m", "10-05 08:00", "a"));
        silent(&["went_silent mch_m"], three().report("m", "03-05 08:00", "a"));
        silent(&[], three().report("m", "10-28 08:00", "a"));
        silent(&["went_silent mch_m"], three().report("m", "10-27 08:00", "a"));
        silent(&[], three().report("m", "10-05 08:00", "a").retired("10-06 08:00", "m"));
        silent(&["went_silent mch_m"], three().report("m", "10-05 08:00", "a").retired("10-09 08:00", "m"));
        silent(&[], three().report("m", "10-05 08:00", "a").switched("off", "10-06 08:00", "m", "a"));
        silent(&[], three().report("m", "10-05 08:00", "a").flagged("09-06 08:00", "m", "pool"));
        silent(&[], three().report("m", "10-05 08:00", "a-"));
        silent(&[], three().report("m", "10-05 08:00", "a").cut_off("10-08 23:59"));
        silent(&["went_silent mch_m"], three().report("m", "10-05 08:00", "a").cut_off("10-09 00:00"));
    }
}
