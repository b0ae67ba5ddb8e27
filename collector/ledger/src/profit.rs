//! What a month earns, line by line and in totals, beside what the same seats would earn on yearly licences paid up
//! front. Invariant: amounts of different currencies are never added; totals add rounded lines; it stays in the house.
//!
//! The comparison: the customer pays the same, one twelfth of the year's licence this month, and the reseller keeps
//! a fixed margin of it (classic: 20 %). What unused yearly seats would have cost is not in it.

use std::collections::BTreeMap;

use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};

use crate::calendar::Period;
use crate::money::{Decimal, Quantity, TooLarge};
use crate::policy::Policy;
use crate::pricing::{RATIO_DIGITS, earnings};
use crate::record::Sku;
use crate::statement::{DEFAULT_DISTRIBUTOR, EarningsRow, Line};

/// The margin of yearly up-front licences that earnings are compared with: 20 %.
pub const CLASSIC_LICENCE_MARGIN: &str = "0.20";

/// What a month earns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earnings {
    /// The month.
    pub period: Period,
    /// The margin of yearly licences that it is compared with.
    pub licence_margin: Decimal,
    /// Line by line.
    pub lines: Vec<EarnedLine>,
    /// Lines that nobody is asked a price for.
    pub unpriced: Vec<UnpricedLine>,
    /// Of each customer and currency.
    pub customers: Vec<EarnedTotal>,
    /// Of each SKU and currency.
    pub skus: Vec<EarnedTotal>,
    /// Of each distributor and currency.
    pub distributors: Vec<EarnedTotal>,
    /// Of each currency.
    pub totals: Vec<EarnedTotal>,
}

/// What a line earns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarnedLine {
    /// As it stands beside the statement.
    #[serde(flatten)]
    pub row: EarningsRow,
    /// Who bills it.
    pub distributor: String,
    /// What the same revenue would leave on yearly licences, where the cost is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence_profit: Option<Decimal>,
    /// How much more is left this way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Decimal>,
}

/// A line that is bought and not sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpricedLine {
    /// Whose seats.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// Who bills it.
    pub distributor: String,
    /// What it costs, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Decimal>,
    /// ISO 4217 code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// What several lines of one currency earn together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarnedTotal {
    /// Of whom or what; empty: of all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub of: String,
    /// ISO 4217 code; absent for lines whose cost is not known: nobody says what they are sold in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// What customers pay.
    pub revenue: Decimal,
    /// What the reseller pays for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Decimal>,
    /// What is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profit: Option<Decimal>,
    /// Profit by cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub markup: Option<Decimal>,
    /// Profit by revenue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Decimal>,
    /// What the same revenue would leave on yearly licences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence_profit: Option<Decimal>,
    /// How much more is left this way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Decimal>,
    /// Cost of lines without a price, which is in no other column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpriced_cost: Option<Decimal>,
}

/// A margin that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a margin: expected a part of 1 such as 0.20, with at most 4 decimals")]
pub struct MarginError(String);

/// A margin between 0 and 1.
///
/// # Errors
/// When the text is none.
pub fn margin(text: &str) -> Result<Decimal, MarginError> {
    let refused = || MarginError(text.chars().take(20).collect());
    let margin: Decimal = text.parse().map_err(|_| refused())?;
    let parts = margin.rescaled(RATIO_DIGITS).map_err(|_| refused())?;
    if (0..=10_000).contains(&parts) && margin.scale() <= RATIO_DIGITS { Ok(margin) } else { Err(refused()) }
}

/// What these priced lines earn.
///
/// # Errors
/// When amounts are too large to add.
pub fn earned(
    period: Period,
    lines: &[Line],
    policy: &Policy,
    licence_margin: Decimal,
) -> Result<Earnings, TooLarge> {
    let rows = earnings(lines, policy)?;
    let distributor = |sku: &Sku| policy.distributor(sku).unwrap_or(DEFAULT_DISTRIBUTOR).to_owned();
    let mut earned: Vec<EarnedLine> = Vec::with_capacity(rows.len());
    for row in rows {
        let licence_profit = row.cost.map(|_| part(row.revenue, licence_margin)).transpose()?;
        let difference = match (row.profit, licence_profit) {
            (Some(profit), Some(licence)) => Some(profit.minus(licence)?),
            _ => None,
        };
        earned.push(EarnedLine { distributor: distributor(&row.sku), row, licence_profit, difference });
    }
    let unpriced: Vec<UnpricedLine> = lines
        .iter()
        .filter(|line| policy.sell_price(&line.customer, &line.sku).is_none())
        .map(|line| UnpricedLine {
            customer: line.customer.clone(),
            sku: line.sku.clone(),
            quantity: line.quantity,
            distributor: distributor(&line.sku),
            cost: line.price.as_ref().map(|price| price.cost),
            currency: line.price.as_ref().map(|price| price.currency.clone()),
        })
        .collect();
    let totals = |of_line: &dyn Fn(&EarnedLine) -> String, of_unpriced: &dyn Fn(&UnpricedLine) -> String| {
        let mut totals = Totals::default();
        earned.iter().try_for_each(|line| totals.add(of_line(line), line))?;
        unpriced.iter().try_for_each(|line| totals.add_unpriced(of_unpriced(line), line))?;
        totals.finish()
    };
    Ok(Earnings {
        period,
        licence_margin,
        customers: totals(&|line| line.row.customer.to_string(), &|line| line.customer.to_string())?,
        skus: totals(&|line| line.row.sku.to_string(), &|line| line.sku.to_string())?,
        distributors: totals(&|line| line.distributor.clone(), &|line| line.distributor.clone())?,
        totals: totals(&|_| String::new(), &|_| String::new())?,
        lines: earned,
        unpriced,
    })
}

/// A part of an amount, rounded half even to the amount's digits.
fn part(amount: Decimal, part: Decimal) -> Result<Decimal, TooLarge> {
    let product = amount.mantissa().checked_mul(part.mantissa()).ok_or(TooLarge)?;
    Decimal::rounded(product, 1, amount.scale() + part.scale(), amount.scale())
}

#[derive(Default)]
struct Totals(BTreeMap<(String, Option<String>), EarnedTotal>);

impl Totals {
    fn of(&mut self, of: String, currency: Option<&String>) -> &mut EarnedTotal {
        let key = (of, currency.cloned());
        self.0.entry(key.clone()).or_insert_with(|| EarnedTotal {
            of: key.0,
            currency: key.1,
            revenue: Decimal::zero(0),
            cost: None,
            profit: None,
            markup: None,
            margin: None,
            licence_profit: None,
            difference: None,
            unpriced_cost: None,
        })
    }

    fn add(&mut self, of: String, line: &EarnedLine) -> Result<(), TooLarge> {
        let total = self.of(of, line.row.currency.as_ref());
        total.revenue = total.revenue.plus(line.row.revenue)?;
        for (sum, amount) in [
            (&mut total.cost, line.row.cost),
            (&mut total.profit, line.row.profit),
            (&mut total.licence_profit, line.licence_profit),
            (&mut total.difference, line.difference),
        ] {
            add(sum, amount)?;
        }
        Ok(())
    }

    fn add_unpriced(&mut self, of: String, line: &UnpricedLine) -> Result<(), TooLarge> {
        let Some(cost) = line.cost else { return Ok(()) };
        let total = self.of(of, line.currency.as_ref());
        // Nothing, too, has the digits of its currency.
        total.revenue = total.revenue.plus(Decimal::zero(cost.scale()))?;
        add(&mut total.unpriced_cost, line.cost)
    }

    fn finish(self) -> Result<Vec<EarnedTotal>, TooLarge> {
        let mut totals: Vec<EarnedTotal> = self.0.into_values().collect();
        for total in &mut totals {
            if let (Some(profit), Some(cost)) = (total.profit, total.cost) {
                total.markup = profit.ratio(cost, RATIO_DIGITS)?;
                total.margin = profit.ratio(total.revenue, RATIO_DIGITS)?;
            }
        }
        Ok(totals)
    }
}

fn add(sum: &mut Option<Decimal>, amount: Option<Decimal>) -> Result<(), TooLarge> {
    if let Some(amount) = amount {
        *sum = Some(sum.unwrap_or(Decimal::zero(0)).plus(amount)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    const POLICY: &str = "presume_days = 0\n[default_sku]\na = \"A\"\nb = \"B\"\nc = \"C\"\nd = \"D\"\n\
        [sku.A]\nprice_group = \"e\"\n[sku.B]\nprice_group = \"u\"\n[sku.D]\nprice_group = \"e\"\n\
        [price_group.e]\ndistributor = \"ingram\"\ncurrency = \"EUR\"\ntiers = [{ from = 1, cost = \"2.10\" }]\n\
        [price_group.u]\ndistributor = \"td\"\ncurrency = \"USD\"\ntiers = [{ from = 1, cost = \"1\" }]\n\
        [price.A]\nreseller = \"3.33\"\n[price.B]\nreseller = \"0.5\"\n[price.C]\nreseller = \"7\"";

    fn month() -> Earnings {
        let scenario = Scenario::bare()
            .policy(POLICY)
            .assigned("09-01 00:00", "m", "acme")
            .assigned("09-01 00:00", "n", "zeta")
            .report("m", "10-05 08:00", "a b c d")
            .report("n", "10-05 08:00", "a");
        let (lines, policy) = (scenario.output().statement.lines, Policy::parse(POLICY).unwrap());
        earned("2026-10".parse().unwrap(), &lines, &policy, margin(CLASSIC_LICENCE_MARGIN).unwrap()).unwrap()
    }

    fn shown(totals: &[EarnedTotal]) -> Vec<String> {
        let told = |amount: Option<Decimal>| amount.map_or("-".to_owned(), |amount| amount.to_string());
        let row = |total: &EarnedTotal| {
            let amounts = [total.cost, total.profit, total.margin, total.licence_profit, total.difference];
            let amounts: Vec<String> = amounts.into_iter().chain([total.unpriced_cost]).map(told).collect();
            let currency = total.currency.as_deref().unwrap_or("?");
            format!("{} {currency} {} {}", total.of, total.revenue, amounts.join(" "))
        };
        totals.iter().map(row).collect()
    }

    #[test]
    fn totals_add_rounded_lines_of_one_currency_only() {
        let earned = month();
        // A twice at 3.33 - 2.10, of 3.33 a fifth is 0.67; B at 0.50 - 1.00; D is bought and not sold.
        assert_eq!(
            shown(&earned.totals),
            [
                " ? 7.00 - - - - - -",
                " EUR 6.66 4.20 2.46 0.3694 1.34 1.12 2.10",
                " USD 0.50 1.00 -0.50 -1.0000 0.10 -0.60 -",
            ]
        );
        assert_eq!(shown(&earned.customers)[1], "cus_acme EUR 3.33 2.10 1.23 0.3694 0.67 0.56 2.10");
        assert_eq!(shown(&earned.customers)[3], "cus_zeta EUR 3.33 2.10 1.23 0.3694 0.67 0.56 -");
        assert_eq!(shown(&earned.skus)[0], "A EUR 6.66 4.20 2.46 0.3694 1.34 1.12 -");
        assert_eq!(shown(&earned.skus)[3], "D EUR 0.00 - - - - - 2.10");
        assert_eq!(
            shown(&earned.distributors),
            [
                "default ? 7.00 - - - - - -",
                "ingram EUR 6.66 4.20 2.46 0.3694 1.34 1.12 2.10",
                "td USD 0.50 1.00 -0.50 -1.0000 0.10 -0.60 -",
            ]
        );
    }

    #[test]
    fn a_part_has_the_digits_of_what_it_is_of() {
        let check = |amount: &str, share: &str, expected: &str| {
            let found = part(amount.parse().unwrap(), share.parse().unwrap()).unwrap();
            assert_eq!(found.to_string(), expected, "{share} of {amount}");
        };
        check("1000", "0.125", "125");
        check("1001", "0.125", "125");
        check("10.00", "0.125", "1.25");
        check("3.33", "0.20", "0.67");
        check("0.10", "0.25", "0.02");
        check("0.30", "0.25", "0.08");
    }

    #[test]
    fn a_seat_that_nobody_is_asked_a_price_for_is_named_with_its_cost() {
        let unpriced = &month().unpriced;
        assert_eq!(unpriced.len(), 1);
        assert_eq!(
            (unpriced[0].sku.as_str(), unpriced[0].cost.unwrap().to_string()),
            ("D", "2.10".to_owned())
        );
    }

    #[test]
    fn a_margin_is_a_part_of_one() {
        for text in ["0", "0.2", "0.20", "0.1234", "1"] {
            assert!(margin(text).is_ok(), "{text}");
        }
        for text in ["", "20", "-0.2", "1.01", "0.12345", "20%", "0,2"] {
            assert!(margin(text).is_err(), "{text}");
        }
        let none = part("3.33".parse().unwrap(), margin("0").unwrap()).unwrap();
        assert_eq!(none.to_string(), "0.00");
    }
}
