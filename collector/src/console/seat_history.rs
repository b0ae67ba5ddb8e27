//! What a customer used month by month. Invariant: a sealed month is told as it was sealed, the running one as it is
//! counted now; a month that is neither is left out.

use std::collections::{BTreeMap, BTreeSet};

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::record::Sku;
use seatbeat_proto::ids::CustomerId;

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use super::query::known_customer;
use crate::jobs::close::running_period;

/// Sealed months that are told: a year.
const MONTHS_MAX: usize = 12;

/// Quantities by month and SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatHistory {
    /// The months in order; the running one is the last.
    pub months: Vec<Period>,
    /// By SKU, a quantity for each month.
    pub skus: BTreeMap<Sku, Vec<Quantity>>,
}

impl Console {
    /// What a customer used in the sealed months of a year and in the running one.
    ///
    /// # Errors
    /// When the customer is not known, or a month cannot be read or counted.
    pub async fn seat_history(&self, caller: &Caller, customer: &CustomerId) -> Result<SeatHistory, Fault> {
        self.books.read(|fold| known_customer(fold, &caller.reach(), Some(customer)))?;
        let (console, customer) = (self.clone(), customer.clone());
        tokio::task::spawn_blocking(move || console.seats_by_month(&customer)).await?
    }

    fn seats_by_month(&self, customer: &CustomerId) -> Result<SeatHistory, Fault> {
        let running = running_period(&self.books);
        let sealed: BTreeSet<Period> =
            self.books.read(|fold| fold.sealed_periods().filter(|month| *month < running).collect());
        let first = sealed.len().saturating_sub(MONTHS_MAX);
        let mut found: BTreeMap<(Sku, Period), Quantity> = BTreeMap::new();
        let mut add = |sku: Sku, month: Period, quantity: Quantity| -> Result<(), Fault> {
            let sum = found.entry((sku, month)).or_insert(Quantity::ZERO);
            *sum = sum.plus(quantity)?;
            Ok(())
        };
        let mut months: Vec<Period> = Vec::new();
        for month in sealed.into_iter().skip(first) {
            months.push(month);
            let statement = &self.sealed_month(month)?.statement;
            for line in statement.lines.iter().filter(|line| line.customer == *customer) {
                add(line.sku.clone(), month, line.quantity)?;
            }
        }
        months.push(running);
        let month = self.closing.lately(running, 0)?;
        for line in month.output.statement.lines.iter().filter(|line| line.customer == *customer) {
            add(line.sku.clone(), running, line.quantity)?;
        }
        let mut skus: BTreeMap<Sku, Vec<Quantity>> = BTreeMap::new();
        for ((sku, month), quantity) in found {
            let row = skus.entry(sku).or_insert_with(|| vec![Quantity::ZERO; months.len()]);
            if let Some(place) = months.iter().position(|known| *known == month) {
                row[place] = quantity;
            }
        }
        Ok(SeatHistory { months, skus })
    }
}
