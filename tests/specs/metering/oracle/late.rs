//! Rule 13: what turned out after a close, as corrections of the periods before.
//! A sealed body is only read; what it says of a period stands.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::calendar::period_before;
use super::money::{Line, decimal, group_total, minor_digits, plain, rounded, rule_14_money, tier};
use super::policy::Policy;
use super::{Account, World};
use crate::metering::Case;

/// Rule 13. What the two periods before turn out to be, against what was sealed and carried for them.
pub(super) fn rule_13_late_evidence(case: &Case, policy: &Policy, sealed: &[Value]) -> Vec<Value> {
    let one_before = period_before(&case.period);
    let two_before = period_before(&one_before);
    [two_before, one_before].iter().flat_map(|period| corrections(case, policy, sealed, period)).collect()
}

/// The corrections of one period that was closed; none when it was not.
fn corrections(case: &Case, policy: &Policy, sealed: &[Value], period: &str) -> Vec<Value> {
    let bodies: Vec<&Value> = sealed.iter().filter(|body| body["period"] == period).collect();
    if bodies.is_empty() {
        return Vec::new();
    }
    let theirs = Policy::sealed(bodies[0]);
    let policy = theirs.as_ref().unwrap_or(policy);
    let mut now = World::new(case, policy).lines(period);
    rule_14_money(policy, &mut now);
    let sealed_lines = rows(&bodies, "lines");
    let earlier: Vec<&Value> =
        sealed.iter().filter(|body| body["period"].as_str() < Some(case.period.as_str())).collect();
    let mut carried = rows(&earlier, "corrections");
    carried.retain(|correction| correction["for_period"] == period);
    let known = sealed_lines.iter().chain(&carried).map(|row| account_of(row));
    let accounts: BTreeSet<Account> = now.keys().cloned().chain(known).collect();
    let mut corrections = Vec::new();
    for account in accounts {
        let sealed = sealed_lines.iter().copied().find(|line| account_of(line) == account);
        let carried: Vec<&Value> =
            carried.iter().copied().filter(|correction| account_of(correction) == account).collect();
        let delta = now.get(&account).map_or(Decimal::ZERO, Line::quantity)
            - number_in(sealed, "quantity")
            - sum_of(&carried, "delta");
        if !delta.is_zero() {
            let (customer, sku) = &account;
            let mut row =
                json!({"for_period": period, "customer": customer, "sku": sku, "delta": plain(delta)});
            if let Some(cost) = cost(policy, &now, &account, sealed, &carried, delta) {
                row["cost"] = json!(cost.to_string());
            }
            corrections.push(row);
        }
    }
    corrections
}

/// At the sealed unit cost; where no line was sealed, at what the recount pays;
/// for `graduated` the cost now, less what was billed and carried.
fn cost(
    policy: &Policy,
    now: &BTreeMap<Account, Line>,
    account: &Account,
    sealed: Option<&Value>,
    carried: &[&Value],
    delta: Decimal,
) -> Option<Decimal> {
    if let Some(unit_cost) = sealed.and_then(|line| line["unit_cost"].as_str()) {
        let currency = sealed.and_then(|line| line["currency"].as_str()).expect("a cost has a currency");
        return Some(rounded(decimal(unit_cost) * delta, minor_digits(currency)));
    }
    let name = policy.group_of(&account.1)?;
    let group = &policy.price_groups[&name];
    let cost = if group.mode == "graduated" {
        let bought = now.get(account).and_then(|line| line.bought.as_ref());
        bought.map_or(Decimal::ZERO, |bought| bought.cost)
            - number_in(sealed, "cost")
            - sum_of(carried, "cost")
    } else {
        decimal(tier(group, group_total(policy, now, &name))) * delta
    };
    Some(rounded(cost, minor_digits(&group.currency)))
}

fn number_in(row: Option<&Value>, field: &str) -> Decimal {
    row.and_then(|row| row.get(field)).and_then(Value::as_str).map_or(Decimal::ZERO, decimal)
}

fn sum_of(rows: &[&Value], field: &str) -> Decimal {
    rows.iter().map(|row| number_in(Some(row), field)).sum()
}

fn rows<'a>(bodies: &[&'a Value], list: &str) -> Vec<&'a Value> {
    bodies.iter().flat_map(|body| body[list].as_array().expect("a list")).collect()
}

fn account_of(row: &Value) -> Account {
    let text = |field: &str| row[field].as_str().expect("a row has its account").to_owned();
    (text("customer"), text("sku"))
}
