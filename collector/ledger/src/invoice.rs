//! What customers are billed for a month: a line a (customer, SKU), and one for each correction of an earlier month.
//! Invariant: each line is the quantity of the statement at the customer's price of the month that it is for, rounded
//! once; what has no price is named and not billed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use seatbeat_proto::ids::CustomerId;
use serde::{Deserialize, Serialize};

use crate::calendar::Period;
use crate::currency::minor_digits;
use crate::money::{Decimal, Quantity, TooLarge, UnitPrice};
use crate::policy::{Policy, PolicyError};
use crate::record::Sku;
use crate::statement::{Correction, Line};
use crate::terms::Terms;

/// Digits of an amount whose currency is not known, as in the earnings.
const PLAIN_DIGITS: u32 = 2;

/// One line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceLine {
    /// Who pays.
    pub customer: CustomerId,
    /// What the reseller's books call the customer; empty: nobody has said.
    pub customer_ref: String,
    /// The month it is for.
    pub period: Period,
    /// For what.
    pub sku: Sku,
    /// In words.
    pub description: String,
    /// How many; below 0 where a correction takes some back.
    pub quantity: Quantity,
    /// The price of each.
    pub unit_price: UnitPrice,
    /// All of it.
    pub amount: Decimal,
    /// ISO 4217 code; empty where the SKU has no price group.
    pub currency: String,
    /// How it is taxed, as the reseller's books say it; empty: nobody has said.
    pub tax_code: String,
}

/// A line that cannot be billed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unbilled {
    /// Whose seats.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// In which month.
    pub period: Period,
    /// How many.
    pub quantity: Quantity,
}

/// What customers are billed for a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoices {
    /// The month.
    pub period: Period,
    /// Whether the statement that it rests on is sealed.
    pub is_sealed: bool,
    /// The lines, by customer, month and SKU.
    pub lines: Vec<InvoiceLine>,
    /// What nobody is asked a price for.
    pub unbilled: Vec<Unbilled>,
}

/// What an invoice says of a customer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Billing {
    /// What the reseller's books call it.
    pub customer_ref: String,
    /// How it is taxed.
    pub tax_code: String,
}

/// Invoices that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceError {
    /// A policy that this version does not read.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Amounts that do not fit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The invoice lines of a month's statement lines and corrections.
///
/// # Errors
/// When a policy cannot be read, or an amount does not fit.
pub fn invoices(
    period: Period,
    is_sealed: bool,
    lines: &[Line],
    corrections: &[Correction],
    terms: &Terms,
    billing: &dyn Fn(&CustomerId) -> Billing,
) -> Result<Invoices, InvoiceError> {
    let owed = lines.iter().map(|line| (period, &line.customer, &line.sku, line.quantity));
    let corrected = corrections.iter().map(|one| (one.for_period, &one.customer, &one.sku, one.delta));
    let mut policies: BTreeMap<Period, Policy> = BTreeMap::new();
    let mut made = Invoices { period, is_sealed, lines: Vec::new(), unbilled: Vec::new() };
    for (of, customer, sku, quantity) in owed.chain(corrected).filter(|(.., quantity)| !quantity.is_zero()) {
        let policy = match policies.entry(of) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unread) => unread.insert(terms.policy(of)?),
        };
        let Some(price) = policy.sell_price(customer, sku) else {
            made.unbilled.push(Unbilled {
                customer: customer.clone(),
                sku: sku.clone(),
                period: of,
                quantity,
            });
            continue;
        };
        let currency = policy.group(sku).map(|(_, group)| group.currency.clone()).unwrap_or_default();
        let Billing { customer_ref, tax_code } = billing(customer);
        made.lines.push(InvoiceLine {
            customer: customer.clone(),
            customer_ref,
            period: of,
            sku: sku.clone(),
            description: description(terms, sku, of, period),
            quantity,
            unit_price: price.clone(),
            amount: price.times(quantity, minor_digits(&currency).unwrap_or(PLAIN_DIGITS))?,
            currency,
            tax_code,
        });
    }
    made.lines.sort_by(|one, other| {
        (&one.customer, one.period, &one.sku).cmp(&(&other.customer, other.period, &other.sku))
    });
    made.unbilled.sort();
    Ok(made)
}

fn description(terms: &Terms, sku: &Sku, of: Period, period: Period) -> String {
    let known = terms.prices().sku(sku, of).map(|terms| terms.name.as_str()).filter(|name| !name.is_empty());
    let name = known.unwrap_or(sku.as_str());
    if of == period { format!("{name}, {of}") } else { format!("{name}, correction for {of}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prices::tests::{apply, list};
    use crate::scenario::Scenario;

    #[test]
    fn a_month_is_billed_at_its_price_and_a_correction_at_that_of_its_own_month() {
        let mut terms = Terms::default();
        let prices = [("A", "", "4.00"), ("A", "cus_zeta", "3.335")];
        apply(terms.prices_mut(), "2026-10", list(&[("A", "g"), ("B", "g")], &[("g", "1")], &prices));
        apply(terms.prices_mut(), "2026-09", list(&[("A", "g")], &[("g", "1")], &[("A", "", "5.00")]));
        let scenario = Scenario::new()
            .policy("presume_days = 0")
            .assigned("09-01 00:00", "n", "zeta")
            .report("m", "10-05 08:00", "a b")
            .report("n", "10-05 08:00", "a")
            .adjusted("11-02 00:00", "acme", "A", "2026-10", 2);
        let correction = Correction {
            for_period: "2026-09".parse().unwrap(),
            customer: "cus_acme".parse().unwrap(),
            sku: "A".parse().unwrap(),
            delta: "-1".parse().unwrap(),
            cost: None,
            distributor: None,
        };
        let billing = |customer: &CustomerId| Billing {
            customer_ref: format!("K-{customer}"),
            tax_code: "VAT".to_owned(),
        };
        let lines = scenario.output().statement.lines;
        let made =
            invoices("2026-10".parse().unwrap(), true, &lines, &[correction], &terms, &billing).unwrap();
        let told = |line: &InvoiceLine| {
            format!(
                "{} | {} x {} = {} {}",
                line.description, line.quantity, line.unit_price, line.amount, line.currency
            )
        };
        assert_eq!(
            made.lines.iter().map(told).collect::<Vec<_>>(),
            [
                "The A, correction for 2026-09 | -1 x 5.00 = -5.00 USD",
                "The A, 2026-10 | 3 x 4.00 = 12.00 USD",
                "The A, 2026-10 | 1 x 3.335 = 3.34 USD",
            ]
        );
        assert_eq!(
            (made.lines[0].customer_ref.as_str(), made.lines[0].tax_code.as_str()),
            ("K-cus_acme", "VAT")
        );
        let unbilled: Vec<&str> = made.unbilled.iter().map(|one| one.sku.as_str()).collect();
        assert_eq!(unbilled, ["B"]);
    }
}
