//! Lines of a statement as a page shows them. Invariant: every number is printed as the ledger wrote it.

use seatbeat_ledger::money::{Decimal, Quantity};
use seatbeat_ledger::policy::Count;
use seatbeat_ledger::profit::EarnedTotal;
use seatbeat_ledger::statement::Line;

use crate::console::months::{Month, MonthLine};

/// A line.
pub struct LineShown {
    /// What its customer is called.
    pub name: String,
    /// Its customer.
    pub customer: String,
    /// Of what.
    pub sku: String,
    /// How its quantity comes about.
    pub how: String,
    /// What is billed.
    pub quantity: String,
    /// Cost of one.
    pub unit_cost: String,
    /// Cost.
    pub cost: String,
    /// What the customer pays.
    pub revenue: String,
    /// What is left.
    pub profit: String,
    /// The same as a part of the revenue.
    pub margin: String,
    /// Of all amounts.
    pub currency: String,
    /// Who bills it.
    pub distributor: String,
}

/// What all lines of a currency earn.
pub struct SumShown {
    /// Which; empty: of lines whose cost is not known.
    pub currency: String,
    /// Cost of lines with a price.
    pub cost: String,
    /// What customers pay.
    pub revenue: String,
    /// What is left.
    pub profit: String,
    /// The same as a part of the revenue.
    pub margin: String,
    /// Cost of lines that nobody is asked a price for.
    pub unpriced: String,
}

impl LineShown {
    /// Of a line of this month.
    pub fn of(one: &MonthLine, month: &Month) -> Self {
        let (line, price) = (&one.line, one.line.price.as_ref());
        let earned = one.earned.as_ref().map(|earned| &earned.row);
        Self {
            name: month.name(&line.customer).to_owned(),
            customer: line.customer.to_string(),
            sku: line.sku.to_string(),
            how: how(line),
            quantity: line.quantity.to_string(),
            unit_cost: price
                .and_then(|price| price.unit_cost.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            cost: price.map(|price| price.cost.to_string()).unwrap_or_default(),
            revenue: earned.map(|row| row.revenue.to_string()).unwrap_or_default(),
            profit: known(earned.and_then(|row| row.profit)),
            margin: percent(earned.and_then(|row| row.margin)),
            currency: price.map(|price| price.currency.clone()).unwrap_or_default(),
            distributor: price.map(|price| price.distributor.clone()).unwrap_or_default(),
        }
    }
}

/// The sums of a month.
pub fn sums(totals: &[EarnedTotal]) -> Vec<SumShown> {
    let sum = |total: &EarnedTotal| SumShown {
        currency: total.currency.clone().unwrap_or_default(),
        cost: known(total.cost),
        revenue: total.revenue.to_string(),
        profit: known(total.profit),
        margin: percent(total.margin),
        unpriced: known(total.unpriced_cost),
    };
    totals.iter().map(sum).collect()
}

/// How a quantity comes about, in words.
pub fn how(line: &Line) -> String {
    let mut words = format!("{} seen", line.confirmed);
    for (units, name) in
        [(line.presumed, "presumed"), (line.declared, "declared"), (line.adjusted, "adjusted")]
    {
        if !units.is_zero() {
            words.push_str(&format!(" {} {name}", signed(units)));
        }
    }
    let count = match line.count {
        Count::HighWater => "most on a day",
        Count::Distinct => "all of the month",
        Count::MonthEnd => "on the last day",
        Count::Average => "average of the days",
    };
    match line.day {
        Some(day) => format!("{words}; {count}, {day}"),
        None => format!("{words}; {count}"),
    }
}

/// A quantity with its sign.
pub fn signed(quantity: Quantity) -> String {
    if quantity < Quantity::ZERO { quantity.to_string() } else { format!("+{quantity}") }
}

/// A number where there is one.
pub fn known(value: Option<Decimal>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A ratio in hundredths, as `44.00 %`.
pub fn percent(ratio: Option<Decimal>) -> String {
    let percent =
        |ratio: Decimal| Decimal::rounded(ratio.mantissa(), 1, ratio.scale().saturating_sub(2), 2).ok();
    ratio.and_then(percent).map(|percent| format!("{percent} %")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_told_in_hundredths() {
        assert_eq!(percent("0.4400".parse().ok()), "44.00 %");
        assert_eq!(percent("-1.0000".parse().ok()), "-100.00 %");
        assert_eq!(percent(None), "");
    }

    #[test]
    fn a_quantity_is_told_with_all_its_parts() {
        let line = r#"{"customer":"cus_a","sku":"A","count":"high_water","day":"2026-10-07","confirmed":"11","presumed":"1",
            "measured":"12","declared":"0","adjusted":"-1","quantity":"11"}"#;
        let line: Line = serde_json::from_str(line).unwrap();
        assert_eq!(how(&line), "11 seen +1 presumed -1 adjusted; most on a day, 2026-10-07");
    }
}
