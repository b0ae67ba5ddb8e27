//! What customers come to in the running month, and what they are asked for it. Invariant: sums of the month's own
//! lines, by currency; no amount is told to who may not see money.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_ledger::money::{Decimal, Quantity, UnitPrice};
use seatbeat_ledger::operators::Right;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::standing::{CustomerStanding, Departure};
use seatbeat_ledger::statement::MeterOutput;
use seatbeat_proto::ids::CustomerId;

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use super::query::known_customer;
use crate::jobs::close::running_period;

/// What a customer comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomerSum {
    /// Of all SKUs.
    pub seats: Quantity,
    /// Cost and revenue, by currency; empty for who may not see money.
    pub money: BTreeMap<String, MoneySum>,
}

/// Amounts of one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoneySum {
    /// What the reseller pays; none: not known.
    pub cost: Option<Decimal>,
    /// What the customer pays; none: no price is known.
    pub revenue: Option<Decimal>,
}

/// What a customer is asked for a SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceTold {
    /// For what.
    pub sku: Sku,
    /// The price of each; none: there is none, and it is not billed.
    pub price: Option<UnitPrice>,
    /// Whether it is this customer's own.
    pub is_own: bool,
}

/// How a customer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StandingTold {
    /// As usual.
    Active,
    /// To come back.
    Suspended(Departure),
    /// Gone for good; whether its names are erased.
    Left(Departure, bool),
}

impl Console {
    /// What customers come to in the running month.
    ///
    /// # Errors
    /// When the month cannot be counted, or an amount does not fit.
    pub async fn customer_sums(&self, caller: &Caller) -> Result<BTreeMap<CustomerId, CustomerSum>, Fault> {
        let (reach, sees_money) = (caller.reach(), caller.let_in.has(Right::Bill));
        let (closing, period) = (self.closing.clone(), running_period(&self.books));
        let month = tokio::task::spawn_blocking(move || closing.lately(period, 0)).await??;
        let MeterOutput { statement, earnings } = &*month.output;
        let mut sums: BTreeMap<CustomerId, CustomerSum> = BTreeMap::new();
        for line in statement.lines.iter().filter(|line| reach.has(&line.customer)) {
            let sum = sums.entry(line.customer.clone()).or_default();
            sum.seats = sum.seats.plus(line.quantity)?;
            if let Some(price) = line.price.as_ref().filter(|_| sees_money) {
                let money = sum.money.entry(price.currency.clone()).or_default();
                money.cost = Some(added(money.cost, price.cost)?);
            }
        }
        for row in earnings.iter().filter(|row| sees_money && reach.has(&row.customer)) {
            let sum = sums.entry(row.customer.clone()).or_default();
            let money = sum.money.entry(row.currency.clone().unwrap_or_default()).or_default();
            money.revenue = Some(added(money.revenue, row.revenue)?);
        }
        Ok(sums)
    }

    /// What a customer is asked in the running month, for what it uses and for what it has prices of its own.
    ///
    /// # Errors
    /// When the customer is not known, or the month cannot be counted.
    pub async fn customer_prices(&self, customer: CustomerId) -> Result<Vec<PriceTold>, Fault> {
        let period = running_period(&self.books);
        let closing = self.closing.clone();
        let month = tokio::task::spawn_blocking(move || closing.lately(period, 0)).await??;
        let policy = self.books.read(|fold| fold.terms().clone()).policy(period)?;
        let lines = month.output.statement.lines.iter().filter(|line| line.customer == customer);
        let mut skus: BTreeSet<Sku> = lines.map(|line| line.sku.clone()).collect();
        let is_own =
            |sku: &Sku| policy.price.get(sku).is_some_and(|prices| prices.contains_key(customer.as_str()));
        skus.extend(policy.price.keys().filter(|sku| is_own(sku)).cloned());
        let told = |sku: Sku| PriceTold {
            price: policy.sell_price(&customer, &sku).cloned(),
            is_own: is_own(&sku),
            sku,
        };
        Ok(skus.into_iter().map(told).collect())
    }

    /// How a customer stands.
    ///
    /// # Errors
    /// When it is not known.
    pub fn customer_standing(&self, caller: &Caller, customer: &CustomerId) -> Result<StandingTold, Fault> {
        self.books.read(|fold| {
            known_customer(fold, &caller.reach(), Some(customer))?;
            let registry = fold.registry();
            Ok(match registry.standing(customer) {
                CustomerStanding::Active => StandingTold::Active,
                CustomerStanding::Suspended(departure) => StandingTold::Suspended(departure.clone()),
                CustomerStanding::Left(departure) => {
                    StandingTold::Left(departure.clone(), registry.is_erased(customer))
                }
            })
        })
    }
}

fn added(sum: Option<Decimal>, amount: Decimal) -> Result<Decimal, Fault> {
    Ok(match sum {
        Some(sum) => sum.plus(amount)?,
        None => amount,
    })
}
