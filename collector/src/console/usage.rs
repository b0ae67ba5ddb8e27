//! What a month's use comes to so far. Invariant: nothing is told of who is out of the caller's reach, no amount to who
//! may see none; of a part of the house only its own machines are looked at.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};
use std::sync::Arc;

use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::month_to_date::MonthToDate;
use seatbeat_ledger::operators::{Reach, Right};
use seatbeat_ledger::statement::{EarningsRow, Flag, Line, MeterOutput};
use seatbeat_proto::ids::{CustomerId, MachineId};

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use super::query::known_customer;
use super::rows::{Usage, UsageRow};
use crate::books::Books;
use crate::jobs::close;

/// Which part of a month's use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// Which month; none: the running one.
    pub period: Option<Period>,
    /// Of whom; none: of all within reach.
    pub customer: Option<CustomerId>,
    /// So many flags at most: of a large house there are as many as machines.
    pub flags_max: usize,
}

impl Console {
    /// What was used in a period up to now, with all there is to look at; without one, in the running period.
    ///
    /// # Errors
    /// When the position is not known here in time, the customer is not known, or the period cannot be computed.
    pub async fn usage(
        &self,
        caller: &Caller,
        period: Option<Period>,
        customer: Option<CustomerId>,
        after: u64,
    ) -> Result<Usage, Fault> {
        self.used(caller, UsageQuery { period, customer, flags_max: usize::MAX }, after)
            .await
            .map(|(usage, _)| usage)
    }

    /// As [`Console::usage`], with so many flags at most, and how many were left out.
    ///
    /// # Errors
    /// As [`Console::usage`].
    pub async fn used(
        &self,
        caller: &Caller,
        query: UsageQuery,
        after: u64,
    ) -> Result<(Usage, usize), Fault> {
        self.books.reached(after).await?;
        let (reach, sees_money) = (caller.reach(), caller.let_in.has(Right::Bill));
        let UsageQuery { period, customer, flags_max } = query;
        self.books.read(|fold| known_customer(fold, &reach, customer.as_ref()))?;
        let period = period.unwrap_or_else(|| close::running_period(&self.books));
        let part = Part { reach, customer };
        let (closing, books) = (self.closing.clone(), self.books.clone());
        let asking = move || -> Result<_, close::CloseError> {
            if flags_max == 0 && part.is(None) {
                let month = closing.lately(period, after)?;
                let left_out = month.flag_count + month.output.statement.flags.len();
                return Ok((Arc::clone(&month.output), (Vec::new(), left_out), part));
            }
            closing.counted_of(period, |month| {
                let output = month.so_far()?;
                let flags = part.flags(&books, month, &output.statement.flags, flags_max);
                Ok::<_, close::CloseError>((output, flags, part))
            })?
        };
        let (output, (flags, left_out), part) = tokio::task::spawn_blocking(asking).await??;
        let MeterOutput { statement, earnings } = &*output;
        // Both lie in the order of customers and SKUs.
        let mut earnings = earnings.iter().peekable();
        let mut named: Option<(&CustomerId, String)> = None;
        let mut rows = Vec::with_capacity(statement.lines.len());
        for line in statement.lines.iter().filter(|line| part.is(Some(&line.customer))) {
            let name = match named.take().filter(|(customer, _)| *customer == &line.customer) {
                Some((_, name)) => name,
                None => self.customer_name(&line.customer)?,
            };
            let key = (&line.customer, &line.sku);
            while earnings.next_if(|row| (&row.customer, &row.sku) < key).is_some() {}
            let earned = earnings.next_if(|row| (&row.customer, &row.sku) == key);
            rows.push(usage_row(line, name.clone(), earned, sees_money));
            named = Some((&line.customer, name));
        }
        let blockers = statement.blockers.iter().filter(|one| part.is(one.customer.as_ref()));
        let usage = Usage {
            period,
            zone: statement.zone.name().to_owned(),
            rows,
            blockers: blockers.cloned().collect(),
            flags,
        };
        Ok((usage, left_out))
    }
}

/// Whose part of a month is told.
struct Part {
    reach: Reach,
    customer: Option<CustomerId>,
}

impl Part {
    /// Whether something about them, or about nobody, is told.
    fn is(&self, of: Option<&CustomerId>) -> bool {
        match of {
            // Of nobody: it is about the house.
            None => self.reach == Reach::House && self.customer.is_none(),
            Some(of) => self.reach.has(of) && self.customer.as_ref().is_none_or(|asked| asked == of),
        }
    }

    /// The flags that are told, in order, and how many are left out. Of a part of the house only its own machines are
    /// looked at.
    fn flags(
        &self,
        books: &Books,
        month: &MonthToDate,
        others: &[Flag],
        count_max: usize,
    ) -> (Vec<Flag>, usize) {
        let others = others.iter().filter(|flag| self.is(flag.customer.as_ref()));
        let mut found: BTreeSet<&Flag> = others.collect();
        if self.is(None) {
            found.extend(month.flags());
        } else {
            let within = self.customer.iter().chain(match (&self.customer, &self.reach) {
                (None, Reach::Customers(customers)) => Some(customers).into_iter().flatten(),
                _ => None.into_iter().flatten(),
            });
            for customer in within {
                let machines: Vec<MachineId> = books.read(|fold| {
                    let owned = fold.registry().machines_of(customer, None);
                    owned.map(|(machine, _)| machine.clone()).collect()
                });
                found.extend(month.flags_of(customer, &machines));
            }
        }
        let left_out = found.len().saturating_sub(count_max);
        (found.into_iter().take(count_max).cloned().collect(), left_out)
    }
}

fn usage_row(line: &Line, customer_name: String, earned: Option<&EarningsRow>, sees_money: bool) -> UsageRow {
    let price = line.price.as_ref().filter(|_| sees_money);
    let earned = earned.filter(|_| sees_money);
    UsageRow {
        customer: line.customer.clone(),
        customer_name,
        sku: line.sku.to_string(),
        quantity: written(line.quantity),
        confirmed: written(line.confirmed),
        presumed: written(line.presumed),
        unit_cost: price.and_then(|price| price.unit_cost.as_ref()).map(written),
        cost: price.map(|price| written(price.cost)),
        revenue: earned.map(|row| written(row.revenue)),
        profit: earned.and_then(|row| row.profit).map(written),
        currency: price.map(|price| price.currency.clone()),
    }
}

/// A number as text. Its pieces do not make the text grow: there are some thousands of them.
fn written(number: impl Display) -> String {
    let mut text = String::with_capacity(16);
    let _ = write!(text, "{number}");
    text
}
