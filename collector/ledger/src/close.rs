//! The close: usage and policy in, the statement of a period out.
//! Invariant: a function of its input; closing again gives the same bytes.

use jiff::Timestamp;
use seatbeat_proto::ids::CustomerId;

use crate::body::SealedBody;
use crate::calendar::{Period, UsageDay, Zone};
use crate::corrections::corrections;
use crate::findings::Findings;
use crate::money::TooLarge;
use crate::policy::Policy;
use crate::pricing::{earnings, price_lines};
use crate::quantity::lines;
use crate::record::Sku;
use crate::seats::{Seats, count_seats};
use crate::statement::{Line, MeterOutput, Statement, totals};
use crate::usage::Usage;

/// What a statement is closed from.
#[derive(Debug, Clone, Copy)]
pub struct CloseInput<'a> {
    /// What the records known at the cut-off amount to, in the policy's zone.
    pub usage: &'a Usage,
    /// The same records in the zones of earlier policies, where those had another.
    pub usage_elsewhere: &'a [Usage],
    /// By which it is closed.
    pub policy: &'a Policy,
    /// Which month.
    pub period: Period,
    /// Usage days that begin after it are left out. The caller has left out the records.
    pub as_of: Option<Timestamp>,
    /// What was sealed before; a body without a policy of its own is recomputed by this one.
    pub sealed: &'a [SealedBody],
}

/// A close that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Records were folded in other zones than the policy's.
    #[error("failed to close: no usage was folded in zone `{zone}`")]
    NoUsage {
        /// The policy's zone.
        zone: String,
    },
    /// Two sealed bodies of a period have the same line.
    #[error("failed to correct period {period}: SKU `{sku}` of `{customer}` is sealed twice")]
    SealedTwice {
        /// The sealed period.
        period: Period,
        /// Whose line.
        customer: CustomerId,
        /// Of what.
        sku: Sku,
    },
    /// Absurd quantities or prices.
    #[error("failed to close: {0}")]
    TooLarge(#[from] TooLarge),
}

impl<'a> CloseInput<'a> {
    /// The usage folded in this zone.
    pub fn usage_in(&self, zone: &Zone) -> Result<&'a Usage, CloseError> {
        std::iter::once(self.usage)
            .chain(self.usage_elsewhere)
            .find(|usage| usage.zone() == zone)
            .ok_or_else(|| CloseError::NoUsage { zone: zone.name().to_owned() })
    }
}

/// Closes a period.
pub fn close(input: CloseInput<'_>) -> Result<MeterOutput, CloseError> {
    let usage = input.usage_in(&input.policy.zone)?;
    let (lines, findings) = priced_lines(usage, input.policy, input.period, input.as_of)?;
    let earnings = earnings(&lines, input.policy)?;
    let statement = Statement {
        period: input.period,
        zone: input.policy.zone.clone(),
        corrections: corrections(&input)?,
        totals: totals(&lines)?,
        lines,
        flags: findings.flags.into_iter().collect(),
        blockers: findings.blockers.into_iter().collect(),
        rejected: findings.rejected.into_iter().collect(),
    };
    Ok(MeterOutput { statement, earnings })
}

/// The seats behind a period's lines, machine by machine: what a line's quantity rests on.
pub fn seats(usage: &Usage, policy: &Policy, period: Period, as_of: Option<Timestamp>) -> Seats {
    count_seats(usage, policy, period, &begun_days(usage, period, as_of)).0
}

/// The lines of a period with their costs, and what there is to say beside them.
pub(crate) fn priced_lines(
    usage: &Usage,
    policy: &Policy,
    period: Period,
    as_of: Option<Timestamp>,
) -> Result<(Vec<Line>, Findings), TooLarge> {
    let days = begun_days(usage, period, as_of);
    let (seats, mut findings) = count_seats(usage, policy, period, &days);
    let mut lines = lines(usage, policy, period, &days, &seats, &mut findings)?;
    price_lines(&mut lines, policy)?;
    Ok((lines, findings))
}

/// Rule 12: the usage days of a period that do not begin after the cut-off.
fn begun_days(usage: &Usage, period: Period, as_of: Option<Timestamp>) -> Vec<UsageDay> {
    let mut days = usage.zone().days(period);
    days.retain(|day| as_of.is_none_or(|cut| day.first <= cut));
    days
}
