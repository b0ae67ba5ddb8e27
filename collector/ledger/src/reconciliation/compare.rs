//! A sealed statement beside what others say of it, line by line. Invariant: pure; the differences add up to the
//! difference of the sums; two equal sides have none; amounts of two currencies are never put together.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};

use super::{Against, Explained, Key, Set, Sides, Source};
use crate::body::{SealedBody, SealedLine};
use crate::calendar::Period;
use crate::currency::minor_digits;
use crate::fold::Fold;
use crate::money::{Decimal, Quantity, TooLarge, UnitPrice};
use crate::pricing::correction_cost;
use crate::record::Sku;

/// Seats that may differ without a reason, whatever the line: two machines that come and go over a month's end.
const SEATS_WITHIN: i128 = 2;

/// Hundredths of a line that may differ without a reason, in seats and in money.
const PERCENT_WITHIN: i128 = 3;

/// A line whose sides differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Whose.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// What they say, and we.
    #[serde(flatten)]
    pub sides: Sides,
    /// In use, by their own count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Theirs less ours.
    pub difference: Quantity,
    /// What that comes to: of an invoice the difference of the amounts, else the seats at our unit cost; absent
    /// without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<Decimal>,
    /// Of our line, where it is not the invoice's: then nothing of it is compared in money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_currency: Option<String>,
    /// Whether there is no line of it on one of the sides.
    pub is_ours: bool,
    /// As `is_ours`.
    pub is_theirs: bool,
    /// Whether it is more than may differ without a reason.
    pub is_beyond: bool,
}

/// A statement and what is said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// All seats, as sealed, of the lines that are compared.
    pub ours: Quantity,
    /// All seats, as they say.
    pub theirs: Quantity,
    /// What ours cost, of an invoice; without lines in another currency.
    pub cost: Option<Decimal>,
    /// What is billed.
    pub amount: Option<Decimal>,
    /// In which currency money is told; none where there is none, or several are.
    pub currency: Option<String>,
    /// Lines that are listed there without a number: not compared.
    pub untold: u64,
    /// By line; those that are the same on both sides are left out.
    pub differences: Vec<Difference>,
}

/// A statement that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// The sealed body cannot be read.
    #[error("failed to read the statement sealed for {period}: {why}")]
    Sealed {
        /// Which month.
        period: Period,
        /// What is wrong.
        why: String,
    },
    /// Sums beyond what is computed exactly.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// Our side of a line.
#[derive(Debug, Clone, Copy, Default)]
struct Ours<'a> {
    quantity: Quantity,
    cost: Option<Decimal>,
    currency: Option<&'a str>,
    line: Option<&'a SealedLine>,
}

/// The sealed statement that is compared.
///
/// # Errors
/// When it cannot be read; `None`: there is none.
pub fn sealed_body(fold: &Fold, period: Period, of: &str) -> Result<Option<(u32, SealedBody)>, CompareError> {
    let sealed = fold.sealed(period).find(|(name, _)| *name == of);
    let Some((_, sealed)) = sealed else { return Ok(None) };
    match serde_json::from_slice(&sealed.body) {
        Ok(body) => Ok(Some((sealed.revision, body))),
        Err(error) => Err(CompareError::Sealed { period, why: error.to_string() }),
    }
}

/// Compares a sealed statement with what is said of it. An invoice bills what the statement says, corrections of
/// earlier months included; a platform tells what was provisioned in the month itself, which is the lines alone.
///
/// # Errors
/// When sums are too large.
pub fn compare(body: &SealedBody, source: &Source, set: &Set) -> Result<Comparison, TooLarge> {
    let ours = sides(body, source)?;
    let units = unit_costs(body);
    let keys: BTreeSet<&Key> = ours.keys().chain(set.rows.keys()).collect();
    let mut found = Comparison { currency: currency(&ours, set), ..Comparison::default() };
    let digits = set.currency.as_deref().and_then(minor_digits);
    (found.cost, found.amount) = digits.map(|digits| (Decimal::zero(digits), Decimal::zero(digits))).unzip();
    for key in keys {
        let (our, their) = (ours.get(key).copied(), set.rows.get(key).copied());
        if their.is_some_and(|their| their.quantity.is_none()) {
            found.untold += 1;
            continue;
        }
        let is_ours = our.is_some_and(|our| our.line.is_some() || !our.quantity.is_zero());
        let (our, theirs) = (our.unwrap_or_default(), their.unwrap_or_default());
        let quantity = theirs.quantity.unwrap_or_default();
        let difference = quantity.minus(our.quantity)?;
        let other_currency =
            our.currency.filter(|ours| set.currency.as_deref().is_some_and(|of| of != *ours));
        let nothing = digits.map(Decimal::zero);
        let is_priced = our.cost.is_some() || !is_ours;
        let cost = if other_currency.is_some() || !is_priced {
            None
        } else {
            nothing.map(|nothing| our.cost.unwrap_or(nothing))
        };
        let amount = nothing.map(|nothing| theirs.amount.unwrap_or(nothing));
        found.ours = found.ours.plus(our.quantity)?;
        found.theirs = found.theirs.plus(quantity)?;
        found.cost = sum(found.cost, cost)?;
        found.amount = sum(found.amount, amount)?;
        let in_money = match (amount, cost) {
            (Some(amount), Some(cost)) => Some(amount.minus(cost)?),
            _ => None,
        };
        let same_money = in_money.is_none_or(|money| money.mantissa() == 0);
        if difference.is_zero() && same_money && other_currency.is_none() {
            continue;
        }
        let valued = valued(&our, units.get(&key.1), difference)?;
        let sides = Sides { ours: our.quantity, theirs: quantity, cost, amount };
        let is_beyond =
            is_beyond_in_seats(&sides) || is_beyond_in_money(&sides, valued)? || other_currency.is_some();
        found.differences.push(Difference {
            customer: key.0.clone(),
            sku: key.1.clone(),
            sides,
            used: theirs.used,
            difference,
            money: if digits.is_some() { in_money } else { valued },
            other_currency: other_currency.map(str::to_owned),
            is_ours,
            is_theirs: their.is_some(),
            is_beyond,
        });
    }
    Ok(found)
}

/// Our side of each line.
fn sides<'a>(body: &'a SealedBody, source: &Source) -> Result<BTreeMap<Key, Ours<'a>>, TooLarge> {
    let mut ours: BTreeMap<Key, Ours<'a>> = BTreeMap::new();
    for line in &body.lines {
        let side = Ours {
            quantity: line.quantity,
            cost: line.cost,
            currency: line.currency.as_deref(),
            line: Some(line),
        };
        ours.insert((line.customer.clone(), line.sku.clone()), side);
    }
    if *source != Source::Invoice {
        return Ok(ours);
    }
    for correction in &body.corrections {
        let side = ours.entry((correction.customer.clone(), correction.sku.clone())).or_default();
        side.quantity = side.quantity.plus(correction.delta)?;
        side.cost = match (side.cost, correction.cost) {
            (Some(cost), Some(more)) => Some(cost.plus(more)?),
            (one, other) => one.or(other),
        };
        let group = body.policy.as_ref().and_then(|policy| policy.group(&correction.sku));
        side.currency = side.currency.or(group.map(|(_, group)| group.currency.as_str()));
    }
    Ok(ours)
}

/// What a unit of each SKU costs, where all cost the same.
fn unit_costs(body: &SealedBody) -> BTreeMap<&Sku, (&UnitPrice, &str)> {
    let unit = |line: &'_ SealedLine| line.unit_cost.is_some() && line.currency.is_some();
    let priced = body.lines.iter().filter(|line| unit(line));
    priced
        .filter_map(|line| Some((&line.sku, (line.unit_cost.as_ref()?, line.currency.as_deref()?))))
        .collect()
}

/// The currency that money is told in: the invoice's, or that of all our lines.
fn currency(ours: &BTreeMap<Key, Ours<'_>>, set: &Set) -> Option<String> {
    if set.currency.is_some() {
        return set.currency.clone();
    }
    let found: BTreeSet<&str> = ours.values().filter_map(|side| side.currency).collect();
    match found.into_iter().collect::<Vec<_>>().as_slice() {
        [one] => Some((*one).to_owned()),
        _ => None,
    }
}

/// What so many more seats of a line come to: at its unit cost, where units have one of their own at what they cost
/// on average, else as other lines of the SKU.
fn valued(
    our: &Ours<'_>,
    unit: Option<&(&UnitPrice, &str)>,
    difference: Quantity,
) -> Result<Option<Decimal>, TooLarge> {
    if let Some((unit, currency)) = unit {
        return correction_cost(unit, difference, currency).map(Some);
    }
    let Some(SealedLine { quantity, cost: Some(cost), .. }) = our.line else { return Ok(None) };
    if quantity.is_zero() {
        return Ok(None);
    }
    let product = cost.mantissa().checked_mul(difference.hundredths()).ok_or(TooLarge)?;
    Decimal::rounded(product, quantity.hundredths(), cost.scale(), cost.scale()).map(Some)
}

fn is_beyond_in_seats(sides: &Sides) -> bool {
    let (ours, theirs) = (sides.ours.hundredths(), sides.theirs.hundredths());
    let apart = (theirs - ours).abs();
    apart > SEATS_WITHIN * 100 && apart.saturating_mul(100) > ours.abs().saturating_mul(PERCENT_WITHIN)
}

/// Whether what is billed is too far from what that many seats cost by our prices: of the same number of seats, from
/// what was sealed.
fn is_beyond_in_money(sides: &Sides, valued: Option<Decimal>) -> Result<bool, TooLarge> {
    let (Some(cost), Some(amount)) = (sides.cost, sides.amount) else { return Ok(false) };
    let expected = match valued {
        Some(valued) => cost.plus(valued)?,
        None => cost,
    };
    let scale = amount.scale().max(expected.scale());
    let (apart, expected) = (amount.minus(expected)?.rescaled(scale)?.abs(), expected.rescaled(scale)?.abs());
    Ok(apart.saturating_mul(100) > expected.saturating_mul(PERCENT_WITHIN))
}

fn sum(sum: Option<Decimal>, more: Option<Decimal>) -> Result<Option<Decimal>, TooLarge> {
    match (sum, more) {
        (Some(sum), Some(more)) => sum.plus(more).map(Some),
        (sum, _) => Ok(sum),
    }
}

/// Differences of a sealed month that need a reason and have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDifferences {
    /// Always `open_differences`.
    pub blocker: String,
    /// What is compared.
    pub period: Period,
    /// Whose statement.
    pub distributor: String,
    /// With what.
    pub source: Source,
    /// How many lines.
    pub lines: u64,
}

/// Whether a difference still needs a reason.
pub fn is_open(difference: &Difference, explained: Option<&Explained>) -> bool {
    difference.is_beyond && explained.is_none()
}

/// All differences that need a reason and have none, of sealed months other than `but`: by what is compared.
///
/// # Errors
/// When a statement cannot be compared.
pub fn open(fold: &Fold, but: Period) -> Result<Vec<OpenDifferences>, CompareError> {
    let mut found = Vec::new();
    for (against, set) in fold.reconciliation().iter().filter(|(against, _)| against.period != but) {
        let Against { period, distributor, source } = against;
        let Some((_, body)) = sealed_body(fold, *period, distributor)? else { continue };
        let differences = compare(&body, source, set)?.differences;
        let explained = |one: &Difference| {
            let key = (one.customer.clone(), one.sku.clone());
            fold.reconciliation().explained(against, &key, &one.sides)
        };
        let lines = differences.iter().filter(|one| is_open(one, explained(one))).count() as u64;
        if lines > 0 {
            let (distributor, source) = (distributor.clone(), source.clone());
            let blocker = "open_differences".to_owned();
            found.push(OpenDifferences { blocker, period: *period, distributor, source, lines });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
