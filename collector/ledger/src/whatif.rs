//! What a month's lines would cost and earn if something were otherwise: more or fewer seats, another sell price,
//! other tiers. Invariant: the same rules price both sides; nothing is changed by asking.

use std::collections::BTreeSet;

use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};

use crate::money::{Decimal, Quantity, TooLarge, UnitPrice};
use crate::policy::{EVERYBODY, Policy, PriceGroup, PriceMode, Tier};
use crate::pricing::{RATIO_DIGITS, earnings, group_totals, line_price, price_lines};
use crate::record::{QUANTITY_MAX, Sku};
use crate::statement::Line;

/// Whose seats are added when nobody is named: a customer at the price for everybody.
const SOMEBODY: &str = "cus_somebody";

/// Even steps of a course: more are not told apart where it is drawn.
const COURSE_STEPS: u64 = 24;

/// What would be otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Of which SKU.
    pub sku: Sku,
    /// To whom; without one: seats to somebody new, a price to everybody.
    pub customer: Option<CustomerId>,
    /// So many seats more; negative: fewer.
    pub seats: i64,
    /// At this sell price.
    pub price: Option<UnitPrice>,
    /// With these tiers of its price group, in rising order.
    pub tiers: Vec<(u64, UnitPrice)>,
}

/// A question that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhatIfError {
    /// Nobody buys it.
    #[error("SKU `{0}` has no price group: what it costs is not known")]
    NoGroup(Sku),
    /// Seats that are not there cannot go.
    #[error("there are only {there} seats of SKU `{sku}` to take {asked} from")]
    TooFew {
        /// Of which SKU.
        sku: Sku,
        /// How many there are.
        there: Quantity,
        /// How many should go.
        asked: u64,
    },
    /// Tiers that are none.
    #[error("the tiers do not rise, or are beyond {QUANTITY_MAX}")]
    Tiers,
    /// Too many of something.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The answer, over all lines of the SKU's price group: they share its tiers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Of which SKU.
    pub sku: Sku,
    /// Its price group.
    pub price_group: String,
    /// ISO 4217 code of all amounts.
    pub currency: String,
    /// As it is.
    pub now: Side,
    /// As it would be.
    pub then: Side,
    /// How the cost changes.
    pub cost_difference: Decimal,
    /// How the revenue changes.
    pub revenue_difference: Decimal,
    /// How the profit changes.
    pub profit_difference: Decimal,
}

/// What a price group's lines cost and earn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// All units of the group.
    pub quantity: Quantity,
    /// What they cost.
    pub cost: Decimal,
    /// What customers pay for those that have a price.
    pub revenue: Decimal,
    /// Revenue less cost.
    pub profit: Decimal,
    /// Profit by revenue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Decimal>,
    /// Units without a sell price: their cost is in the profit, a revenue is not.
    pub unpriced: Quantity,
    /// The tier that the quantity reaches.
    pub tier: ReachedTier,
    /// The one behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_tier: Option<NextTier>,
}

/// A tier that is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedTier {
    /// Its first unit.
    pub from: u64,
    /// Its cost a unit.
    pub unit_cost: UnitPrice,
}

/// A tier that is not reached yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextTier {
    /// Its first unit.
    pub from: u64,
    /// Its cost a unit.
    pub unit_cost: UnitPrice,
    /// Units that are missing.
    pub missing: Quantity,
    /// How much less a unit costs there; negative: more.
    pub saves_a_unit: Decimal,
    /// How much less the present units cost there; nothing where only further units are cheaper (graduated).
    pub saves: Decimal,
    /// What the whole group costs with the missing units, less what it costs now: negative, and buying them pays.
    pub extra_cost: Decimal,
}

/// Answers a question about a month's lines.
///
/// # Errors
/// When the SKU is not bought by a price group, seats are missing, or the tiers are none.
pub fn what_if(lines: &[Line], policy: &Policy, question: &Question) -> Result<Answer, WhatIfError> {
    let Some((name, group)) = policy.group(&question.sku) else {
        return Err(WhatIfError::NoGroup(question.sku.clone()));
    };
    let (name, currency) = (name.to_owned(), group.currency.clone());
    let now = side(lines, policy, &name)?;
    let changed = changed_policy(policy, &name, question)?;
    let then = side(&changed_lines(lines, question)?, &changed, &name)?;
    Ok(Answer {
        sku: question.sku.clone(),
        price_group: name,
        currency,
        cost_difference: then.cost.minus(now.cost)?,
        revenue_difference: then.revenue.minus(now.revenue)?,
        profit_difference: then.profit.minus(now.profit)?,
        now,
        then,
    })
}

/// What a price group's units would cost and earn, from those that are not asked about up to beyond the next two tiers:
/// the question's seats come or go. Each tier's first unit and the one before it are among them.
///
/// # Errors
/// As [`what_if`].
pub fn course(lines: &[Line], policy: &Policy, question: &Question) -> Result<Vec<Side>, WhatIfError> {
    let Some((name, _)) = policy.group(&question.sku) else {
        return Err(WhatIfError::NoGroup(question.sku.clone()));
    };
    let name = name.to_owned();
    let changed = changed_policy(policy, &name, question)?;
    let of_group = |line: &&Line| policy.group(&line.sku).is_some_and(|(of, _)| of == name);
    let lines: Vec<Line> = lines.iter().filter(of_group).cloned().collect();
    let now = group_totals(&lines, policy)?.get(&name).copied().unwrap_or_default();
    let is_asked = |line: &&Line| {
        let is_theirs = question.customer.as_ref().is_none_or(|customer| line.customer == *customer);
        line.sku == question.sku && is_theirs
    };
    let asked =
        lines.iter().filter(is_asked).try_fold(Quantity::ZERO, |sum, line| sum.plus(line.quantity))?;
    let tiers = &changed.price_group[&name].tiers;
    let units = course_units(now.rounded_up(), asked.whole(), tiers, question.seats);
    let side_at = |seats: i64| {
        let question = Question { seats, ..question.clone() };
        side(&changed_lines(&lines, &question)?, &changed, &name)
    };
    units.into_iter().map(side_at).collect()
}

/// By how many seats more or fewer a course goes, rising: evenly, and to each side of a tier's beginning.
fn course_units(now: u64, asked: u64, tiers: &[Tier], seats: i64) -> BTreeSet<i64> {
    let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    let ahead = tiers.iter().filter(|tier| tier.from > now).take(2).last().map_or(0, |tier| tier.from);
    let then = now.saturating_add_signed(seats);
    let high = [now.saturating_add(now / 2), ahead.saturating_add(ahead / 10), then, now.saturating_add(10)];
    let (low, high) = (now.saturating_sub(asked), high.into_iter().max().unwrap_or(now).min(QUANTITY_MAX));
    let step = usize::try_from((high.saturating_sub(low) / COURSE_STEPS).max(1)).unwrap_or(usize::MAX);
    let begins = tiers.iter().flat_map(|tier| [tier.from.saturating_sub(1), tier.from]);
    let units = (low..=high).step_by(step).chain(begins).chain([now, then]);
    units.filter(|units| (low..=high).contains(units)).map(|units| signed(units) - signed(now)).collect()
}

fn changed_policy(policy: &Policy, group: &str, question: &Question) -> Result<Policy, WhatIfError> {
    let mut policy = policy.clone();
    if let Some(price) = &question.price {
        let buyer = question.customer.as_ref().map_or(EVERYBODY, CustomerId::as_str).to_owned();
        policy.price.entry(question.sku.clone()).or_default().insert(buyer, price.clone());
    }
    let rises = question.tiers.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !rises || question.tiers.iter().any(|(from, _)| *from > QUANTITY_MAX) {
        return Err(WhatIfError::Tiers);
    }
    if let Some(group) = policy.price_group.get_mut(group).filter(|_| !question.tiers.is_empty()) {
        let tier = |(from, cost): &(u64, UnitPrice)| Tier { from: *from, cost: cost.clone() };
        group.tiers = question.tiers.iter().map(tier).collect();
    }
    Ok(policy)
}

/// The lines with the seats put on or taken off; without a customer, they are taken from whoever has some, in order.
fn changed_lines(lines: &[Line], question: &Question) -> Result<Vec<Line>, WhatIfError> {
    let mut lines = lines.to_vec();
    let is_asked = |line: &Line| {
        line.sku == question.sku
            && question.customer.as_ref().is_none_or(|customer| line.customer == *customer)
    };
    if question.seats >= 0 {
        let more = Quantity::units(question.seats);
        let named = question.customer.is_some();
        if let Some(line) = lines.iter_mut().find(|line| named && is_asked(line)) {
            line.quantity = line.quantity.plus(more)?;
        } else if !more.is_zero() {
            let somebody = || SOMEBODY.parse().expect("it is a customer id");
            lines.push(seats(question.customer.clone().unwrap_or_else(somebody), question.sku.clone(), more));
        }
        return Ok(lines);
    }
    let (mut left, mut there) = (Quantity::units(question.seats.unsigned_abs()), Quantity::ZERO);
    for line in lines.iter_mut().filter(|line| is_asked(line)) {
        there = there.plus(line.quantity)?;
        let taken = left.min(line.quantity);
        line.quantity = line.quantity.minus(taken)?;
        left = left.minus(taken)?;
    }
    if left.is_zero() {
        return Ok(lines);
    }
    let (sku, asked) = (question.sku.clone(), question.seats.unsigned_abs());
    Err(WhatIfError::TooFew { sku, there, asked })
}

fn seats(customer: CustomerId, sku: Sku, quantity: Quantity) -> Line {
    Line {
        customer,
        sku,
        count: Default::default(),
        day: None,
        confirmed: Quantity::ZERO,
        presumed: Quantity::ZERO,
        measured: Quantity::ZERO,
        declared: Quantity::ZERO,
        adjusted: quantity,
        quantity,
        price: None,
    }
}

fn side(lines: &[Line], policy: &Policy, name: &str) -> Result<Side, WhatIfError> {
    let mut lines: Vec<Line> = lines
        .iter()
        .filter(|line| policy.group(&line.sku).is_some_and(|(of, _)| of == name))
        .cloned()
        .collect();
    price_lines(&mut lines, policy)?;
    let group = &policy.price_group[name];
    let quantity = group_totals(&lines, policy)?.get(name).copied().unwrap_or_default();
    let nothing = Decimal::zero(group.digits());
    let (mut cost, mut revenue, mut unpriced) = (nothing, nothing, Quantity::ZERO);
    for line in &lines {
        cost = cost.plus(line.price.as_ref().map_or(nothing, |price| price.cost))?;
        if policy.sell_price(&line.customer, &line.sku).is_none() {
            unpriced = unpriced.plus(line.quantity)?;
        }
    }
    for row in earnings(&lines, policy)? {
        revenue = revenue.plus(row.revenue)?;
    }
    let profit = revenue.minus(cost)?;
    let reached = group.tiers.iter().take_while(|tier| Quantity::units(tier.from) <= quantity).count();
    let tier = &group.tiers[reached.saturating_sub(1)];
    // Below the first tier its price holds already: the next one that changes anything is the second.
    let next = group
        .tiers
        .get(reached.max(1))
        .map(|next| next_tier(group, tier, next, quantity, cost))
        .transpose()?;
    Ok(Side {
        quantity,
        cost,
        revenue,
        profit,
        margin: profit.ratio(revenue, RATIO_DIGITS)?,
        unpriced,
        tier: ReachedTier { from: tier.from, unit_cost: tier.cost.clone() },
        next_tier: next,
    })
}

fn next_tier(
    group: &PriceGroup,
    tier: &Tier,
    next: &Tier,
    quantity: Quantity,
    cost: Decimal,
) -> Result<NextTier, TooLarge> {
    let reached = Quantity::units(next.from);
    let digits = group.digits();
    let saves = match group.mode {
        PriceMode::Volume => tier.cost.times(quantity, digits)?.minus(next.cost.times(quantity, digits)?)?,
        PriceMode::Graduated => Decimal::zero(digits),
    };
    Ok(NextTier {
        from: next.from,
        unit_cost: next.cost.clone(),
        missing: reached.minus(quantity)?,
        saves_a_unit: tier.cost.value().minus(next.cost.value())?,
        saves,
        extra_cost: line_price(group, reached, reached)?.cost.minus(cost)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: &str) -> Policy {
        Policy::parse(&format!(
            "[sku.A]\nprice_group = \"g\"\n[sku.B]\nprice_group = \"g\"\n[price_group.g]\ndistributor = \"d\"\n\
             currency = \"EUR\"\nmode = \"{mode}\"\ntiers = [{{ from = 1, cost = \"2.00\" }}, \
             {{ from = 10, cost = \"1.50\" }}]\n[price.A]\nreseller = \"4.00\"\ncus_acme = \"3.00\"\n[sku.C]"
        ))
        .unwrap()
    }

    fn lines() -> Vec<Line> {
        let line = |customer: &str, sku: &str, quantity: &str| {
            seats(customer.parse().unwrap(), sku.parse().unwrap(), quantity.parse().unwrap())
        };
        vec![
            line("cus_acme", "A", "5"),
            line("cus_acme", "B", "1"),
            line("cus_zeta", "A", "2"),
            line("cus_zeta", "C", "9"),
        ]
    }

    fn ask(sku: &str) -> Question {
        Question { sku: sku.parse().unwrap(), customer: None, seats: 0, price: None, tiers: Vec::new() }
    }

    fn told(side: &Side) -> String {
        let next = side.next_tier.as_ref().map_or("-".to_owned(), |next| {
            format!(
                "{} missing, saves {} ({} a unit), extra {}",
                next.missing, next.saves, next.saves_a_unit, next.extra_cost
            )
        });
        let margin = side.margin.map_or("-".to_owned(), |margin| margin.to_string());
        format!(
            "{} at {}: {} - {} = {} ({margin}); {next}",
            side.quantity, side.tier.unit_cost, side.revenue, side.cost, side.profit
        )
    }

    fn check(mode: &str, question: &Question, then: &str) -> Answer {
        let answer = what_if(&lines(), &policy(mode), question).unwrap();
        assert_eq!(told(&answer.then), then);
        answer
    }

    #[test]
    fn seats_that_reach_a_tier_change_the_cost_of_all_lines_of_the_group() {
        let answer = check(
            "volume",
            &Question { seats: 2, ..ask("A") },
            "10 at 1.50: 31.00 - 15.00 = 16.00 (0.5161); -",
        );
        let now =
            "8 at 2.00: 23.00 - 16.00 = 7.00 (0.3043); 2 missing, saves 4.00 (0.50 a unit), extra -1.00";
        assert_eq!(told(&answer.now), now);
        assert_eq!(answer.now.unpriced.to_string(), "1");
        let differences = [answer.cost_difference, answer.revenue_difference, answer.profit_difference];
        assert_eq!(differences.map(|one| one.to_string()), ["-1.00", "8.00", "9.00"]);
    }

    #[test]
    fn a_named_customer_pays_its_own_price_and_fewer_seats_are_taken_where_there_are_some() {
        let acme = Some("cus_acme".parse().unwrap());
        let more = Question { seats: 1, customer: acme.clone(), ..ask("A") };
        check(
            "volume",
            &more,
            "9 at 2.00: 26.00 - 18.00 = 8.00 (0.3077); 1 missing, saves 4.50 (0.50 a unit), extra -3.00",
        );
        let fewer = Question { seats: -6, ..ask("A") };
        check(
            "volume",
            &fewer,
            "2 at 2.00: 4.00 - 4.00 = 0.00 (0.0000); 8 missing, saves 1.00 (0.50 a unit), extra 11.00",
        );
        let gone = Question { seats: -6, customer: acme, ..ask("A") };
        let error = what_if(&lines(), &policy("volume"), &gone).unwrap_err();
        assert_eq!(error.to_string(), "there are only 5 seats of SKU `A` to take 6 from");
    }

    #[test]
    fn another_price_or_other_tiers_change_their_side_only() {
        let price = Question { price: Some("5".parse().unwrap()), ..ask("A") };
        check(
            "volume",
            &price,
            "8 at 2.00: 25.00 - 16.00 = 9.00 (0.3600); 2 missing, saves 4.00 (0.50 a unit), extra -1.00",
        );
        let tiers =
            Question { tiers: vec![(1, "2".parse().unwrap()), (5, "1".parse().unwrap())], ..ask("A") };
        check("volume", &tiers, "8 at 1: 23.00 - 8.00 = 15.00 (0.6522); -");
        let falling =
            Question { tiers: vec![(5, "2".parse().unwrap()), (5, "1".parse().unwrap())], ..ask("A") };
        assert_eq!(what_if(&lines(), &policy("volume"), &falling), Err(WhatIfError::Tiers));
    }

    #[test]
    fn graduated_tiers_save_on_further_units_only() {
        check(
            "graduated",
            &ask("A"),
            "8 at 2.00: 23.00 - 16.00 = 7.00 (0.3043); 2 missing, saves 0.00 (0.50 a unit), extra 3.50",
        );
    }

    #[test]
    fn a_course_goes_from_nothing_asked_to_beyond_the_next_tiers_and_shows_each_step() {
        let course = course(&lines(), &policy("volume"), &ask("A")).unwrap();
        let quantities: Vec<String> = course.iter().map(|side| side.quantity.to_string()).collect();
        let expected: Vec<String> = (1..=18).map(|units| units.to_string()).collect();
        assert_eq!(quantities, expected, "one seat is of SKU B");
        let costs = |units: usize| course[units - 1].cost.to_string();
        assert_eq!((costs(9), costs(10)), ("18.00".to_owned(), "15.00".to_owned()));
        for side in &course {
            let seats = i64::try_from(side.quantity.rounded_up()).unwrap() - 8;
            let asked = what_if(&lines(), &policy("volume"), &Question { seats, ..ask("A") }).unwrap();
            assert_eq!(*side, asked.then);
        }
    }

    #[test]
    fn a_long_course_is_cut_into_steps_and_keeps_both_sides_of_a_tier() {
        let tiers = [(1, "2"), (1000, "1"), (900_000, "0.5"), (5_000_000, "0.1")];
        let tiers = tiers.map(|(from, cost)| (from, cost.parse().unwrap())).to_vec();
        let course = course(&lines(), &policy("volume"), &Question { tiers, ..ask("A") }).unwrap();
        assert!(course.len() < 40, "{}", course.len());
        for units in ["1", "8", "999", "1000", "899999", "900000"] {
            assert!(course.iter().any(|side| side.quantity.to_string() == units), "{units}");
        }
        assert!(course.windows(2).all(|pair| pair[0].quantity < pair[1].quantity));
    }

    #[test]
    fn a_sku_that_nobody_bills_cannot_be_asked_about() {
        let error = what_if(&lines(), &policy("volume"), &ask("C")).unwrap_err();
        assert_eq!(error.to_string(), "SKU `C` has no price group: what it costs is not known");
    }
}
