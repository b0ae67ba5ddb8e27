//! How the house stands on one page: what waits for somebody, and the month so far. Invariant: added up from what is
//! kept counted; no machine is looked at for it, and no amount is in it for who may see none.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::forecast::{Forecast, Money, so_far};
use seatbeat_ledger::life::{Life, Wait};
use seatbeat_ledger::money::{Quantity, TooLarge};
use seatbeat_ledger::month_to_date::DaySeats;
use seatbeat_ledger::operators::{Reach, Right};
use seatbeat_ledger::statement::{Blocker, Line, Statement};
use seatbeat_proto::wire::AlertRow;

use super::Console;
use super::auth::Caller;
use super::fault::Fault;
use super::machines::InTheField;
use super::orders::waiting::OrdersWaiting;
use super::words::{self, Advice};
use crate::jobs::close::{CloseError, nobody_enrolled_in, running_period};

/// See the module's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// As of when.
    pub now: Timestamp,
    /// The running month.
    pub period: Period,
    /// Customers within reach.
    pub customers: u64,
    /// Machines that ought to be heard from.
    pub field: InTheField,
    /// Those with an open stream.
    pub connected: u64,
    /// Of a hundred machines so many are to be heard from within [`Overview::coverage_days`]; 0: never mind.
    pub coverage_percent: u8,
    /// Days within which a machine is to be heard from.
    pub coverage_days: u32,
    /// Seats day by day.
    pub by_day: DaySeats,
    /// Seats of the last day that has begun.
    pub seats_today: u64,
    /// What the month bills so far.
    pub quantity: Quantity,
    /// The month before, where anybody was enrolled in it.
    pub last: Option<MonthBefore>,
    /// What the month costs and earns so far, by currency; empty for who may see no money.
    pub money: Vec<(Option<String>, Money)>,
    /// What it will come to; none for who may not see that.
    pub forecast: Option<Forecast>,
    /// What the running month's statement would be blocked by.
    pub in_the_way: Vec<Advice>,
    /// Months that are over and not sealed; empty for who may not close them.
    pub months: Vec<MonthWaiting>,
    /// Alerts of which somebody is told.
    pub alerts: Vec<AlertRow>,
    /// Orders that are not over; none for who may not see them.
    pub orders: Option<OrdersWaiting>,
}

/// What a month that is over came to, as it was sealed or by what is known now.
#[derive(Debug, Clone, PartialEq)]
pub struct MonthBefore {
    /// Which.
    pub period: Period,
    /// Whether it is sealed.
    pub is_sealed: bool,
    /// What it billed.
    pub quantity: Quantity,
    /// What it cost and earned, by currency; empty for who may see no money.
    pub money: Vec<(Option<String>, Money)>,
}

/// A month that is over and not sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthWaiting {
    /// Which.
    pub period: Period,
    /// Where it stands.
    pub state: &'static str,
    /// When it goes on by itself; none: it waits for somebody.
    pub goes_on_at: Option<Timestamp>,
    /// When its statement has to be with the distributor.
    pub due_at: Timestamp,
    /// What is in the way.
    pub blockers: Vec<Advice>,
}

/// The month as it is counted.
struct Counted {
    period: Period,
    by_day: DaySeats,
    quantity: Quantity,
    money: Vec<(Option<String>, Money)>,
    blockers: Vec<Blocker>,
}

impl Console {
    /// How the house stands, within somebody's reach.
    ///
    /// # Errors
    /// When the position is not known here in time, or a part cannot be computed.
    pub async fn overview(&self, caller: &Caller, after: u64) -> Result<Overview, Fault> {
        self.books.reached(after).await?;
        let (reach, bills) = (caller.reach(), caller.let_in.has(Right::Bill));
        let has_house = reach == Reach::House;
        let now = self.books.clock().now();
        let (console, of) = (self.clone(), reach.clone());
        let counting = move || -> Result<_, Fault> {
            let counted = console.month_so_far(&of, bills)?;
            let forecast = (bills && has_house).then(|| console.closing.forecast(counted.period));
            let last = console.month_before(counted.period.previous(), &of, bills)?;
            let days = console.config.coverage().days;
            let heard_since = now.saturating_sub(SignedDuration::from_hours(24 * i64::from(days)));
            let heard_since = heard_since.unwrap_or(Timestamp::MIN);
            let (field, connected) = console.in_the_field(&of, heard_since)?;
            let orders = has_house.then(|| console.orders_waiting());
            Ok((counted, forecast.transpose()?, last, field, connected, orders))
        };
        let (counted, forecast, last, field, connected, orders) =
            tokio::task::spawn_blocking(counting).await??;
        let months = if bills && has_house { self.months_waiting(after).await? } else { Vec::new() };
        let alerts = self.alerts(caller, after).await?.alerts;
        let coverage = self.config.coverage();
        let customers =
            self.books.read(|fold| fold.registry().customers().filter(|one| reach.has(one)).count());
        let today = counted.by_day.days.len().checked_sub(1);
        let of_today = |days: &Vec<u64>| today.and_then(|today| days.get(today)).copied().unwrap_or(0);
        Ok(Overview {
            now,
            period: counted.period,
            customers: customers as u64,
            field,
            connected,
            coverage_percent: coverage.percent,
            coverage_days: coverage.days,
            seats_today: counted.by_day.skus.values().map(of_today).sum(),
            by_day: counted.by_day,
            quantity: counted.quantity,
            last,
            money: counted.money,
            forecast,
            in_the_way: counted.blockers.iter().map(words::blocker).collect(),
            months,
            alerts: alerts.into_iter().filter(|alert| alert.muted_until_ms == 0).collect(),
            orders,
        })
    }

    fn month_so_far(&self, reach: &Reach, bills: bool) -> Result<Counted, Fault> {
        let has_house = *reach == Reach::House;
        let running = running_period(&self.books);
        self.closing.counted_of(running, |month| -> Result<Counted, Fault> {
            let output = month.so_far().map_err(CloseError::from)?;
            let Statement { lines, blockers, .. } = &output.statement;
            let lines = within(reach, lines);
            let is_of = |blocker: &&Blocker| match &blocker.customer {
                Some(customer) => reach.has(customer),
                None => has_house,
            };
            Ok(Counted {
                period: month.period(),
                by_day: month.by_day(|customer| reach.has(customer)),
                quantity: sum(&lines)?,
                money: if bills { so_far(&lines, month.policy())? } else { Vec::new() },
                blockers: blockers.iter().filter(is_of).cloned().collect(),
            })
        })?
    }

    fn month_before(&self, period: Period, reach: &Reach, bills: bool) -> Result<Option<MonthBefore>, Fault> {
        let is_sealed = self.is_sealed(period);
        let (sealed, so_far_known);
        let lines = match is_sealed {
            true => {
                sealed = self.sealed_month(period)?;
                within(reach, &sealed.statement.lines)
            }
            false if self.books.read(|fold| nobody_enrolled_in(fold, period)) => return Ok(None),
            false => {
                so_far_known = self.closing.so_far(period)?;
                within(reach, &so_far_known.statement.lines)
            }
        };
        let money = match bills {
            true => so_far(&lines, &self.books.read(|fold| fold.terms().clone()).policy(period)?)?,
            false => Vec::new(),
        };
        Ok(Some(MonthBefore { period, is_sealed, quantity: sum(&lines)?, money }))
    }

    async fn months_waiting(&self, after: u64) -> Result<Vec<MonthWaiting>, Fault> {
        let standings = self.statements(after).await?.statements;
        let zone = self.books.read(|fold| fold.usage().zone().clone());
        let mut months: BTreeMap<Period, MonthWaiting> = BTreeMap::new();
        for standing in standings {
            let (goes_on_at, blockers) = match &standing.life {
                Life::Grace { until } => (Some(*until), Vec::new()),
                Life::Draft { blockers, wait, .. } => {
                    let at = match wait {
                        Wait::Day { at } => Some(*at),
                        Wait::Collector => Some(self.books.clock().now()),
                        Wait::Person { .. } => None,
                    };
                    (at, blockers.iter().map(words::in_the_way).collect())
                }
                _ => continue,
            };
            let day = standing.period.next().first_day().plus(i32::from(self.config.alerts.deadline_day) - 1);
            let due_at = zone.first_instant(day);
            let (period, state) = (standing.period, standing.life.name());
            months.insert(period, MonthWaiting { period, state, goes_on_at, due_at, blockers });
        }
        Ok(months.into_values().collect())
    }
}

fn within<'a>(reach: &Reach, lines: &'a [Line]) -> Cow<'a, [Line]> {
    match reach {
        Reach::House => Cow::Borrowed(lines),
        Reach::Customers(_) => lines.iter().filter(|line| reach.has(&line.customer)).cloned().collect(),
    }
}

fn sum(lines: &[Line]) -> Result<Quantity, TooLarge> {
    lines.iter().try_fold(Quantity::ZERO, |sum, line| sum.plus(line.quantity))
}
