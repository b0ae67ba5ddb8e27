//! How the house stands on one page: what waits for somebody, and the month so far. Invariant: added up from what is
//! kept counted; no machine is looked at for it, and no amount is in it for who may see none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
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
use crate::lately::Lately;

/// How old may be what was added up of a large house.
const AGE_MAX: SignedDuration = SignedDuration::from_secs(15);

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
    pub forecast: Option<Arc<Forecast>>,
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
#[derive(Debug, Clone)]
struct Counted {
    by_day: DaySeats,
    quantity: Quantity,
    money: Vec<(Option<String>, Money)>,
    blockers: Vec<Blocker>,
}

/// What is added up of the house, or of a part of it.
#[derive(Debug, Clone)]
struct Added {
    month: Counted,
    forecast: Option<Arc<Forecast>>,
    last: Option<MonthBefore>,
    customers: u64,
    field: InTheField,
    months: Vec<MonthWaiting>,
}

/// Whose numbers are asked for, by whom.
#[derive(Debug, Clone)]
struct Question {
    reach: Reach,
    /// Whoever asks may see money, and close months.
    bills: bool,
    period: Period,
    after: u64,
}

/// What was added up of the whole house lately: for who may see money, and for who may not.
#[derive(Clone)]
pub struct Overviews(Arc<[Lately<Arc<Added>>; 2]>);

impl Default for Overviews {
    fn default() -> Self {
        Self(Arc::new([AGE_MAX; 2].map(Lately::new)))
    }
}

impl Overviews {
    fn of(&self, bills: bool) -> &Lately<Arc<Added>> {
        &self.0[usize::from(bills)]
    }
}

impl Question {
    /// What lines cost and earn, where that may be seen.
    fn money_of(
        &self,
        console: &Console,
        lines: &[Line],
        period: Period,
    ) -> Result<Vec<(Option<String>, Money)>, Fault> {
        if self.bills { console.money_so_far(lines, period) } else { Ok(Vec::new()) }
    }
}

impl Console {
    /// How the house stands, within somebody's reach. What is added up of a large house may be some moments old, as
    /// [`crate::lately`] says.
    ///
    /// # Errors
    /// When the position is not known here in time, or a part cannot be computed.
    pub async fn overview(&self, caller: &Caller, after: u64) -> Result<Overview, Fault> {
        self.books.reached(after).await?;
        let (reach, bills) = (caller.reach(), caller.let_in.has(Right::Bill));
        let period = running_period(&self.books);
        let (console, question) = (self.clone(), Question { reach, bills, period, after });
        let adding = move || -> Result<_, Fault> {
            let added = match question {
                Question { reach: Reach::House, .. } => console.added_lately(&question)?,
                Question { reach: Reach::Customers(_), .. } => Arc::new(console.added(&question)?),
            };
            let (connected, orders) = match &question.reach {
                Reach::House => (console.presence.connected_count(), Some(console.orders_waiting())),
                Reach::Customers(customers) => (console.connected_of(customers)?, None),
            };
            Ok((Arc::unwrap_or_clone(added), connected, orders))
        };
        let (added, connected, orders) = tokio::task::spawn_blocking(adding).await??;
        let alerts = self.alerts(caller, after).await?.alerts;
        let coverage = self.config.coverage();
        let Added { month, forecast, last, customers, field, months } = added;
        let today = month.by_day.days.len().checked_sub(1);
        let of_today = |days: &Vec<u64>| today.and_then(|today| days.get(today)).copied().unwrap_or(0);
        Ok(Overview {
            now: self.books.clock().now(),
            period,
            customers,
            field,
            connected: connected as u64,
            coverage_percent: coverage.percent,
            coverage_days: coverage.days,
            seats_today: month.by_day.skus.values().map(of_today).sum(),
            by_day: month.by_day,
            quantity: month.quantity,
            last,
            money: month.money,
            forecast,
            in_the_way: month.blockers.iter().map(words::blocker).collect(),
            months,
            alerts: alerts.into_iter().filter(|alert| alert.muted_until_ms == 0).collect(),
            orders,
        })
    }

    /// Adds up a large house anew where somebody has asked for it lately: the next question is answered from that.
    pub fn keep_added(&self) {
        let wanted = self.closing.wanted(self.books.read(Fold::position));
        for bills in [false, true] {
            let added = |period| self.added_anew(bills, period, 0);
            if let Err(fault) = self.overviews.of(bills).refresh(wanted, added) {
                tracing::warn!(error = fault.words(), "the overview could not be added up");
            }
        }
    }

    fn added_lately(&self, question: &Question) -> Result<Arc<Added>, Fault> {
        let Question { bills, period, after, .. } = *question;
        let wanted = self.closing.wanted(self.books.decided().0.max(after));
        self.overviews.of(bills).get(period, wanted, || self.added_anew(bills, period, after))
    }

    fn added_anew(&self, bills: bool, period: Period, after: u64) -> Result<(Arc<Added>, u64), Fault> {
        let after = self.books.decided().0.max(after);
        let question = Question { reach: Reach::House, bills, period, after };
        Ok((Arc::new(self.added(&question)?), after))
    }

    /// Adds up what is kept counted.
    fn added(&self, question: &Question) -> Result<Added, Fault> {
        let Question { reach, bills, period, after } = question;
        let (period, after, is_all) = (*period, *after, *reach == Reach::House && *bills);
        let days = self.config.coverage().days;
        let now = self.books.clock().now();
        let heard_since = now.saturating_sub(SignedDuration::from_hours(24 * i64::from(days)));
        let customers =
            self.books.read(|fold| fold.registry().customers().filter(|one| reach.has(one)).count());
        Ok(Added {
            month: self.month_so_far(question)?,
            forecast: if is_all { Some(self.closing.forecast(period)?) } else { None },
            last: self.month_before(question)?,
            customers: customers as u64,
            field: self.in_the_field(reach, heard_since.unwrap_or(Timestamp::MIN))?,
            months: if is_all { self.months_waiting(after)? } else { Vec::new() },
        })
    }

    fn month_so_far(&self, question: &Question) -> Result<Counted, Fault> {
        let reach = &question.reach;
        let (output, by_day) = match reach {
            Reach::House => {
                let month = self.closing.lately(question.period, question.after)?;
                (Arc::clone(&month.output), month.by_day.clone())
            }
            Reach::Customers(_) => {
                self.closing.counted_of(question.period, |month| -> Result<_, Fault> {
                    let output = month.so_far().map_err(CloseError::from)?;
                    Ok((output, month.by_day(|customer| reach.has(customer))))
                })??
            }
        };
        let Statement { lines, blockers, .. } = &output.statement;
        let lines = within(reach, lines);
        let is_of = |blocker: &&Blocker| match &blocker.customer {
            Some(customer) => reach.has(customer),
            None => *reach == Reach::House,
        };
        Ok(Counted {
            by_day,
            quantity: sum(&lines)?,
            money: question.money_of(self, &lines, question.period)?,
            blockers: blockers.iter().filter(is_of).cloned().collect(),
        })
    }

    fn money_so_far(&self, lines: &[Line], period: Period) -> Result<Vec<(Option<String>, Money)>, Fault> {
        Ok(so_far(lines, &self.books.read(|fold| fold.terms().clone()).policy(period)?)?)
    }

    fn month_before(&self, question: &Question) -> Result<Option<MonthBefore>, Fault> {
        let (period, reach) = (question.period.previous(), &question.reach);
        let is_sealed = self.is_sealed(period);
        let (sealed, counted);
        let lines = match is_sealed {
            true => {
                sealed = self.sealed_month(period)?;
                within(reach, &sealed.statement.lines)
            }
            false if self.books.read(|fold| nobody_enrolled_in(fold, period)) => return Ok(None),
            false => {
                counted = self.closing.lately(period, question.after)?;
                within(reach, &counted.output.statement.lines)
            }
        };
        let (quantity, money) = (sum(&lines)?, question.money_of(self, &lines, period)?);
        Ok(Some(MonthBefore { period, is_sealed, quantity, money }))
    }

    fn months_waiting(&self, after: u64) -> Result<Vec<MonthWaiting>, Fault> {
        let standings = self.closing.standings(after)?;
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
