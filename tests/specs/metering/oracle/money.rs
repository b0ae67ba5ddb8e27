//! Rule 14: quantities become money.
//! Amounts are rounded once, half even, at the line.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

use super::Account;
use super::policy::{Policy, PriceGroup};

#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) count: String,
    pub(super) day: Option<String>,
    pub(super) confirmed: Decimal,
    pub(super) presumed: Decimal,
    pub(super) declared: Decimal,
    pub(super) adjusted: Decimal,
    pub(super) bought: Option<Bought>,
}

#[derive(Clone, Debug)]
pub(super) struct Bought {
    distributor: String,
    /// None for `graduated`.
    unit_cost: Option<String>,
    pub(super) cost: Decimal,
    currency: String,
}

impl Line {
    pub(super) fn sum(&self) -> Decimal {
        self.confirmed + self.presumed + self.declared + self.adjusted
    }

    /// Rule 11: never below 0.
    pub(super) fn quantity(&self) -> Decimal {
        self.sum().max(Decimal::ZERO)
    }
}

/// A quantity: no trailing zeros.
pub(super) fn plain(number: Decimal) -> String {
    if number.is_zero() { "0".to_owned() } else { number.normalize().to_string() }
}

pub(super) fn rounded(number: Decimal, digits: u32) -> Decimal {
    let mut number = number.round_dp_with_strategy(digits, RoundingStrategy::MidpointNearestEven);
    number.rescale(digits);
    if number.is_zero() { Decimal::new(0, digits) } else { number }
}

/// Minor digits, ISO 4217.
pub(super) fn minor_digits(currency: &str) -> u32 {
    match currency {
        "JPY" | "KRW" | "CLP" | "VND" | "ISK" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

pub(super) fn decimal(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

/// The last tier whose `from` is at most the number, the first tier when there is none.
pub(super) fn tier(group: &PriceGroup, number: Decimal) -> &String {
    let reached = group.tiers.iter().rfind(|(from, _)| *from <= number);
    &reached.or(group.tiers.first()).expect("a price group has tiers").1
}

/// What a group's total costs: each unit in its own tier, the part between n−1 and n being unit n.
fn graduated(group: &PriceGroup, total: Decimal) -> Decimal {
    let mut cost = Decimal::ZERO;
    let mut unit = Decimal::ONE;
    while unit - Decimal::ONE < total {
        let part = total.min(unit) - (unit - Decimal::ONE);
        cost += part * decimal(tier(group, unit));
        unit += Decimal::ONE;
    }
    cost
}

/// The reseller's total quantity of a price group.
pub(super) fn group_total(policy: &Policy, lines: &BTreeMap<Account, Line>, group: &str) -> Decimal {
    lines
        .iter()
        .filter(|((_, sku), _)| policy.group_of(sku).as_deref() == Some(group))
        .map(|(_, line)| line.quantity())
        .sum()
}

/// Rule 14. What every line costs.
pub(super) fn rule_14_money(policy: &Policy, lines: &mut BTreeMap<Account, Line>) {
    for (account, mut line) in lines.clone() {
        let Some(name) = policy.group_of(&account.1) else { continue };
        let group = &policy.price_groups[&name];
        let total = group_total(policy, lines, &name);
        let (unit_cost, cost) = match group.mode.as_str() {
            "graduated" if total.is_zero() => (None, Decimal::ZERO),
            "graduated" => (None, graduated(group, total) * line.quantity() / total),
            _ => {
                let unit_cost = tier(group, total);
                (Some(unit_cost.clone()), decimal(unit_cost) * line.quantity())
            }
        };
        line.bought = Some(Bought {
            distributor: group.distributor.clone(),
            unit_cost,
            cost: rounded(cost, minor_digits(&group.currency)),
            currency: group.currency.clone(),
        });
        lines.insert(account, line);
    }
}

pub(super) fn shown_line((customer, sku): &Account, line: &Line) -> Value {
    let mut shown = json!({
        "customer": customer,
        "sku": sku,
        "count": line.count,
        "confirmed": plain(line.confirmed),
        "presumed": plain(line.presumed),
        "measured": plain(line.confirmed + line.presumed),
        "declared": plain(line.declared),
        "adjusted": plain(line.adjusted),
        "quantity": plain(line.quantity()),
    });
    if let Some(day) = &line.day {
        shown["day"] = json!(day);
    }
    if let Some(bought) = &line.bought {
        shown["distributor"] = json!(bought.distributor);
        if let Some(unit_cost) = &bought.unit_cost {
            shown["unit_cost"] = json!(unit_cost);
        }
        shown["cost"] = json!(bought.cost.to_string());
        shown["currency"] = json!(bought.currency);
    }
    shown
}

pub(super) fn totals(lines: &BTreeMap<Account, Line>) -> Vec<Value> {
    let mut totals: BTreeMap<&str, Decimal> = BTreeMap::new();
    for ((_, sku), line) in lines {
        *totals.entry(sku).or_default() += line.quantity();
    }
    totals.into_iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": plain(quantity)})).collect()
}

/// Rule 14, the reseller's side of a line; none where no price is known.
pub(super) fn earning(policy: &Policy, (customer, sku): &Account, line: &Line) -> Option<Value> {
    let price = policy.price(customer, sku)?;
    let digits = line.bought.as_ref().map_or(2, |bought| minor_digits(&bought.currency));
    let revenue = rounded(decimal(price) * line.quantity(), digits);
    let mut row = json!({
        "customer": customer,
        "sku": sku,
        "quantity": plain(line.quantity()),
        "unit_price": price,
        "revenue": revenue.to_string(),
    });
    if let Some(bought) = &line.bought {
        let profit = revenue - bought.cost;
        row["cost"] = json!(bought.cost.to_string());
        row["profit"] = json!(rounded(profit, digits).to_string());
        row["currency"] = json!(bought.currency);
        if !bought.cost.is_zero() {
            row["markup"] = json!(rounded(profit / bought.cost, 4).to_string());
        }
        if !revenue.is_zero() {
            row["margin"] = json!(rounded(profit / revenue, 4).to_string());
        }
    }
    Some(row)
}
