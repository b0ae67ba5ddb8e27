//! Rule 14: what lines cost the reseller, and what they earn.
//! Invariant: an amount is rounded once, a line at a time; sums add what was rounded.

use std::collections::BTreeMap;

use crate::money::{Decimal, Quantity, TooLarge, UnitPrice};
use crate::policy::{Policy, PriceGroup, PriceMode};
use crate::statement::{EarningsRow, Line, LinePrice};

/// Digits of an amount whose currency is not known.
const PLAIN_DIGITS: u32 = 2;
/// Digits of a markup or margin.
pub const RATIO_DIGITS: u32 = 4;

/// The reseller's total quantity of each price group.
pub type GroupTotals = BTreeMap<String, Quantity>;

/// The total quantity of each price group over these lines.
pub fn group_totals(lines: &[Line], policy: &Policy) -> Result<GroupTotals, TooLarge> {
    let mut totals = GroupTotals::new();
    for line in lines {
        if let Some((name, _)) = policy.group(&line.sku) {
            let total = totals.entry(name.to_owned()).or_default();
            *total = total.plus(line.quantity)?;
        }
    }
    Ok(totals)
}

/// Puts its cost on each line whose SKU has a price group.
pub fn price_lines(lines: &mut [Line], policy: &Policy) -> Result<(), TooLarge> {
    let totals = group_totals(lines, policy)?;
    for line in lines {
        if let Some((name, group)) = policy.group(&line.sku) {
            let total = totals.get(name).copied().unwrap_or_default();
            line.price = Some(line_price(group, total, line.quantity)?);
        }
    }
    Ok(())
}

pub(crate) fn line_price(
    group: &PriceGroup,
    total: Quantity,
    quantity: Quantity,
) -> Result<LinePrice, TooLarge> {
    let (unit_cost, cost) = match group.mode {
        PriceMode::Volume => {
            let unit_cost = unit_cost_at(group, total);
            (Some(unit_cost.clone()), unit_cost.times(quantity, group.digits())?)
        }
        PriceMode::Graduated => (None, graduated_share(group, total, quantity)?),
    };
    Ok(LinePrice {
        distributor: group.distributor.clone(),
        unit_cost,
        cost,
        currency: group.currency.clone(),
    })
}

/// The price of every unit by volume: of the last tier that starts at or below the total, else of the first.
pub fn unit_cost_at(group: &PriceGroup, total: Quantity) -> &UnitPrice {
    let reached = group.tiers.iter().take_while(|tier| Quantity::units(tier.from) <= total).last();
    &reached.unwrap_or(&group.tiers[0]).cost
}

/// A line's share, by quantity, of the cost of a total each of whose units is priced at its own tier.
fn graduated_share(group: &PriceGroup, total: Quantity, quantity: Quantity) -> Result<Decimal, TooLarge> {
    let digits = group.digits();
    if total.is_zero() {
        return Ok(Decimal::zero(digits));
    }
    let scale = group.tiers.iter().map(|tier| tier.cost.value().scale()).max().unwrap_or(0);
    // Of the total in hundredths, at ten to the scale: the sum is whole.
    let mut cost: i128 = 0;
    for (index, tier) in group.tiers.iter().enumerate() {
        let (start, end) = tier_bounds(group, index, total);
        let price = tier.cost.value().rescaled(scale)?;
        let part = (end - start).checked_mul(price).ok_or(TooLarge)?;
        cost = cost.checked_add(part).ok_or(TooLarge)?;
    }
    let share = common_divisor(quantity.hundredths(), total.hundredths());
    let (numerator, denominator) = (quantity.hundredths() / share, total.hundredths() / share);
    let numerator = cost.checked_mul(numerator).ok_or(TooLarge)?;
    Decimal::rounded(numerator, denominator, scale + 2, digits)
}

/// Between which hundredths of the total a tier holds: unit `n` is the part between `n - 1` and `n`.
fn tier_bounds(group: &PriceGroup, index: usize, total: Quantity) -> (i128, i128) {
    let before = |from: u64| i128::from(from.saturating_sub(1)) * 100;
    let start = if index == 0 { 0 } else { before(group.tiers[index].from) };
    let end = group.tiers.get(index + 1).map_or(total.hundredths(), |next| before(next.from));
    (start.min(total.hundredths()), end.min(total.hundredths()))
}

fn common_divisor(one: i128, other: i128) -> i128 {
    let (mut one, mut other) = (one, other);
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one.abs().max(1)
}

/// What a difference to a sealed line costs at a unit price.
pub fn correction_cost(unit: &UnitPrice, delta: Quantity, currency: &str) -> Result<Decimal, TooLarge> {
    unit.times(delta, crate::currency::minor_digits(currency).unwrap_or(PLAIN_DIGITS))
}

/// What the reseller earns on each line that has a price.
pub fn earnings(lines: &[Line], policy: &Policy) -> Result<Vec<EarningsRow>, TooLarge> {
    lines.iter().filter_map(|line| earnings_row(line, policy).transpose()).collect()
}

fn earnings_row(line: &Line, policy: &Policy) -> Result<Option<EarningsRow>, TooLarge> {
    let Some(unit_price) = policy.sell_price(&line.customer, &line.sku) else { return Ok(None) };
    let digits = policy.group(&line.sku).map_or(PLAIN_DIGITS, |(_, group)| group.digits());
    let revenue = unit_price.times(line.quantity, digits)?;
    let mut row = EarningsRow {
        customer: line.customer.clone(),
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price: unit_price.clone(),
        revenue,
        cost: None,
        profit: None,
        markup: None,
        margin: None,
        currency: None,
    };
    if let Some(price) = &line.price {
        let profit = revenue.minus(price.cost)?;
        row.cost = Some(price.cost);
        row.profit = Some(profit);
        row.markup = profit.ratio(price.cost, RATIO_DIGITS)?;
        row.margin = profit.ratio(revenue, RATIO_DIGITS)?;
        row.currency = Some(price.currency.clone());
    }
    Ok(Some(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(mode: &str, tiers: &[(u64, &str)]) -> PriceGroup {
        let tiers: Vec<String> =
            tiers.iter().map(|(from, cost)| format!("{{ from = {from}, cost = \"{cost}\" }}")).collect();
        let text = format!(
            "distributor = \"d\"\ncurrency = \"USD\"\nmode = \"{mode}\"\ntiers = [{}]",
            tiers.join(", ")
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn volume_prices_every_unit_at_the_last_tier_that_the_total_reaches() {
        let group = group("volume", &[(2, "3.00"), (10, "2.00"), (25, "1.00")]);
        for (total, cost) in [
            ("0", "3.00"),
            ("1", "3.00"),
            ("2", "3.00"),
            ("9.99", "3.00"),
            ("10", "2.00"),
            ("24.99", "2.00"),
            ("25", "1.00"),
            ("1000", "1.00"),
        ] {
            assert_eq!(unit_cost_at(&group, total.parse().unwrap()).to_string(), cost, "{total}");
        }
    }

    #[test]
    fn graduated_prices_each_unit_at_its_own_tier() {
        let tiers: &[(u64, &str)] = &[(1, "3.00"), (11, "2.00"), (21, "1.5")];
        for (total, cost) in [
            ("0", "0.00"),
            ("1", "3.00"),
            ("10", "30.00"),
            ("10.5", "31.00"),
            ("11", "32.00"),
            ("20", "50.00"),
            ("20.01", "50.02"),
            ("22", "53.00"),
        ] {
            let total = total.parse().unwrap();
            assert_eq!(graduated_share(&group("graduated", tiers), total, total).unwrap().to_string(), cost);
        }
    }

    #[test]
    fn units_below_the_first_tier_cost_what_it_does() {
        for first in [0, 1, 5] {
            let group = group("graduated", &[(first, "3.00"), (6, "1.00")]);
            let total = "7".parse().unwrap();
            assert_eq!(graduated_share(&group, total, total).unwrap().to_string(), "17.00", "{first}");
        }
        let group = group("graduated", &[(0, "9.00"), (1, "1.00")]);
        let total = "7".parse().unwrap();
        assert_eq!(graduated_share(&group, total, total).unwrap().to_string(), "7.00");
    }

    #[test]
    fn a_line_bears_its_share_of_a_graduated_cost_rounded_half_even() {
        let group = group("graduated", &[(1, "1.00"), (2, "0.50")]);
        let share = |quantity: &str, total: &str| {
            graduated_share(&group, total.parse().unwrap(), quantity.parse().unwrap()).unwrap().to_string()
        };
        // 3 units cost 2.00, a third of it 0.666…
        assert_eq!((share("1", "3"), share("2", "3")), ("0.67".to_owned(), "1.33".to_owned()));
        // 1.03 units cost 1.015: all of it to the even cent.
        assert_eq!(share("1.03", "1.03"), "1.02");
        assert_eq!(share("0", "3"), "0.00");
    }

    #[test]
    fn what_cannot_be_computed_exactly_is_refused() {
        let group = group("graduated", &[(1, "999999999.99999999")]);
        let total: Quantity = "999999999999999.99".parse().unwrap();
        assert_eq!(graduated_share(&group, total, "999999999999999.98".parse().unwrap()), Err(TooLarge));
        assert!(crate::money::power_of_ten(39).is_err());
    }
}
