//! Rule 1: whose a machine is, at an instant and on a day.
//! Invariant: a machine that was ever assigned has an owner at every instant.

use jiff::Timestamp;
use seatbeat_proto::ids::CustomerId;

use crate::calendar::UsageDay;
use crate::usage::MachineFacts;

/// The owner of a machine-day; `None` for a machine that was never assigned.
pub fn owner_of_day<'a>(facts: &'a MachineFacts, day: &UsageDay) -> Option<&'a CustomerId> {
    match facts.evidence.reported(day.day) {
        Some(reports) => owner_until(facts, |at| at <= reports.last),
        None => owner_until(facts, |at| at < day.end),
    }
}

/// The latest assigned one among those that are early enough, else the first ever; ties: the greater id.
fn owner_until(facts: &MachineFacts, is_early_enough: impl Fn(Timestamp) -> bool) -> Option<&CustomerId> {
    let latest = facts.assigned.iter().take_while(|(at, _)| is_early_enough(*at)).last();
    let found = latest.or_else(|| {
        let (first, _) = facts.assigned.first()?;
        facts.assigned.iter().take_while(|(at, _)| at == first).last()
    });
    found.map(|(_, customer)| customer)
}
