//! Rules 2 and 3: whether a machine uses a product on a day, seen or presumed.
//! Invariant: only an accepted report of that day confirms; only a settling report before it lets presume.

use jiff::Timestamp;
use seatbeat_proto::ids::ProductId;

use crate::calendar::UsageDay;
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
    let evidence = &facts.evidence;
    if evidence.active(product, day.day).is_some() {
        return Presence::Confirmed;
    }
    if evidence.settled(product, day.day).is_some() {
        return Presence::Absent;
    }
    let Some((settled_day, settled_at)) = evidence.settled_before(product, day.day) else {
        return Presence::Absent;
    };
    // An active report settles too, so the last active one is the last settling one or a report tied with it.
    let ended_active =
        evidence.active(product, settled_day).is_some_and(|reports| reports.last == settled_at);
    if !ended_active || is_ended(facts, product, settled_at, day.first) {
        return Presence::Absent;
    }
    if day.day.days_since(settled_day) > i64::from(presume_days) {
        return Presence::WentSilent;
    }
    Presence::Presumed
}

/// Whether something other than a report says that the use has ended between a report and a day's first instant.
fn is_ended(facts: &MachineFacts, product: &ProductId, report: Timestamp, first: Timestamp) -> bool {
    let is_retired = facts.retired.range(..=first).next_back().is_some_and(|at| *at > report);
    is_retired || is_switched_off(facts, product, report, first) || facts.is_pool(first)
}

fn is_switched_off(facts: &MachineFacts, product: &ProductId, report: Timestamp, first: Timestamp) -> bool {
    let Some(switches) = facts.switches.get(product) else { return false };
    // On sorts after off: at one instant on is the later.
    let latest = switches.range(..=(first, Switch::On)).next_back();
    latest.is_some_and(|(at, switch)| *at >= report && *switch == Switch::Off)
}
