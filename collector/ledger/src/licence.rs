//! Rule 4: days on which a customer's licence was suspended.
//! Invariant: the day of a suspension and the day of a resumption count.

use seatbeat_proto::ids::CustomerId;

use crate::calendar::UsageDay;
use crate::record::Sku;
use crate::usage::{LicenceStep, Usage};

/// Whether the licence was suspended for that whole day.
pub fn is_suspended(usage: &Usage, customer: &CustomerId, sku: &Sku, day: &UsageDay) -> bool {
    let Some(steps) = usage.licence(customer, sku) else { return false };
    // Whatever undoes the latest suspension before the day undoes the earlier ones.
    let before = steps.range(..(day.first, LicenceStep::Suspended));
    let Some((suspended_at, _)) = before.rev().find(|(_, step)| *step == LicenceStep::Suspended) else {
        return false;
    };
    let mut since = steps.range((*suspended_at, LicenceStep::Suspended)..(day.end, LicenceStep::Suspended));
    !since.any(|(_, step)| *step == LicenceStep::Resumed)
}
