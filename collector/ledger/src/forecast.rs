//! What the running month will come to, between two bounds. Invariant: a function of what is known now; the expected
//! quantity lies between the bounds, and on the month's last day all three are what is used.
//!
//! - **lower**: nobody uses anything from tomorrow on.
//! - **expected**: every seat of today goes on to the month's end; a confirmed one stays confirmed, a presumed one
//!   presumed. What was declared for the month before and not for this one is taken to be declared again.
//! - **upper**: every machine that used a SKU in this month uses it from tomorrow to the month's end.
//!
//! Each is counted by the SKU's own rule and priced by the month's own tiers. Machines that nobody knows yet, moves,
//! switches and adjustments to come are in none of them.

pub mod switched;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use seatbeat_proto::ids::{CustomerId, MachineId};
use serde::{Deserialize, Serialize};

use crate::calendar::{Day, Period, UsageDay};
use crate::close::seats;
use crate::counts::{Counter, Counts, DAYS_MAX};
use crate::money::{Decimal, Quantity, TooLarge};
use crate::policy::{Count, Policy};
use crate::pricing::{RATIO_DIGITS, earnings, price_lines};
use crate::quantity::measure;
use crate::record::Sku;
use crate::seats::{CountedDay, Seats};
use crate::statement::{EarningsRow, Line};
use crate::usage::Usage;

use switched::{SeatKey, Turns};

/// What a running month will come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// The month.
    pub period: Period,
    /// When it was made.
    pub as_of: Timestamp,
    /// Usage days that have begun.
    pub days_begun: u64,
    /// Usage days of the month.
    pub days: u64,
    /// What it rests on, in words.
    pub rests_on: String,
    /// By customer and SKU.
    pub lines: Vec<ForecastLine>,
    /// Of each currency; without one, of lines whose cost is not known.
    pub totals: Vec<ForecastTotal>,
}

/// What a (customer, SKU) will come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastLine {
    /// Whose seats.
    pub customer: CustomerId,
    /// Of what.
    pub sku: Sku,
    /// How they are counted.
    pub count: Count,
    /// If nobody uses anything from tomorrow on.
    pub lower: Quantity,
    /// If the seats of today go on.
    pub expected: Quantity,
    /// If every machine of this month is back tomorrow.
    pub upper: Quantity,
    /// What the expected quantity costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Decimal>,
    /// What customers pay for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revenue: Option<Decimal>,
    /// ISO 4217 code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// What lines of one currency will come to together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastTotal {
    /// ISO 4217 code; absent where the cost is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// If nobody uses anything from tomorrow on.
    pub lower: Money,
    /// If the seats of today go on.
    pub expected: Money,
    /// If every machine of this month is back tomorrow.
    pub upper: Money,
}

/// Cost and revenue, and what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// What the reseller pays.
    pub cost: Decimal,
    /// What customers pay.
    pub revenue: Decimal,
    /// Revenue less cost.
    pub profit: Decimal,
    /// Profit by revenue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<Decimal>,
}

/// Forecasts a month as of an instant in it; of one that is over, it is what was used.
///
/// # Errors
/// When amounts are too large to add.
pub fn forecast(
    usage: &Usage,
    policy: &Policy,
    period: Period,
    now: Timestamp,
) -> Result<Forecast, TooLarge> {
    let days = usage.zone().days(period);
    let begun = days.iter().filter(|day| day.first <= now).count();
    // Days below `min_days` may still be reached: that filter is applied behind the projection.
    let seen = seats(usage, &without_min_days(policy), period, Some(now));
    let month = Month { usage, policy, period, days: &days, begun, turns: Turns::default() };
    month.forecast(now, |course| month.lines(&seen, course))
}

/// As [`forecast`], from seats that are counted as of `now`, by a policy none of whose rules asks for `min_days`: what
/// the days to come add is the same for each machine of a line then.
///
/// # Errors
/// When amounts are too large to add.
pub(crate) fn of_counts(
    usage: &Usage,
    policy: &Policy,
    period: Period,
    now: Timestamp,
    counts: &Counts,
) -> Result<Forecast, TooLarge> {
    let days = usage.zone().days(period);
    let begun = days.iter().filter(|day| day.first <= now).count();
    let month = Month { usage, policy, period, days: &days, begun, turns: Turns::default() };
    let keys: BTreeSet<(CustomerId, Sku)> =
        counts.lines().map(|(customer, sku, _)| (customer.clone(), sku.clone())).collect();
    month.forecast(now, |course| {
        let counter = |(customer, sku): &(CustomerId, Sku)| {
            counts.line(customer, sku).map(|counter| month.goes_on(counter, course)).unwrap_or_default()
        };
        month.lines_of(&keys, course, counter)
    })
}

/// What priced lines cost and earn so far, by currency; without one, lines whose cost is not known.
///
/// # Errors
/// When amounts are too large to add.
pub fn so_far(lines: &[Line], policy: &Policy) -> Result<Vec<(Option<String>, Money)>, TooLarge> {
    let (nothing, so_far) = (Priced::default(), Priced::of(lines, policy)?);
    let totals = totals([&nothing, &so_far, &nothing])?.into_iter();
    Ok(totals.map(|total| (total.currency, total.expected)).collect())
}

fn rests_on(begun: usize, days: usize) -> String {
    match begun {
        0 => "the month has not begun: nothing but what is declared and adjusted".to_owned(),
        all if all == days => "all days of the month".to_owned(),
        begun => format!(
            "{begun} of {days} days; expected: the seats of day {begun} go on to the end; lower: nobody uses anything \
             any more; upper: every machine of the month is back tomorrow; machines that nobody knows yet are in none"
        ),
    }
}

fn without_min_days(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy.sku.values_mut().for_each(|rule| rule.min_days = 0);
    policy
}

/// How the month goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    Ends,
    GoesOn,
    AllReturn,
}

struct Month<'a> {
    usage: &'a Usage,
    policy: &'a Policy,
    period: Period,
    days: &'a [UsageDay],
    begun: usize,
    turns: Turns,
}

impl Month<'_> {
    fn forecast(
        &self,
        now: Timestamp,
        lines: impl Fn(Course) -> Result<Vec<Line>, TooLarge>,
    ) -> Result<Forecast, TooLarge> {
        let priced = |course| {
            let mut lines = lines(course)?;
            price_lines(&mut lines, self.policy)?;
            Priced::of(lines, self.policy)
        };
        let lower = priced(Course::Ends)?;
        let expected = priced(Course::GoesOn)?;
        let upper = priced(Course::AllReturn)?;
        Ok(Forecast {
            period: self.period,
            as_of: now,
            days_begun: self.begun as u64,
            days: self.days.len() as u64,
            rests_on: rests_on(self.begun, self.days.len()),
            lines: forecast_lines(&lower, &expected, &upper),
            totals: totals([&lower, &expected, &upper])?,
        })
    }

    fn lines(&self, seen: &Seats, course: Course) -> Result<Vec<Line>, TooLarge> {
        let begun = self.turns.begin.iter().map(|(customer, sku, _)| (customer.clone(), sku.clone()));
        let keys: BTreeSet<(CustomerId, Sku)> = seen.keys().cloned().chain(begun).collect();
        let first = self.days.first().map_or(Day::numbered(0), |day| day.day);
        let nobody = BTreeMap::new();
        self.lines_of(&keys, course, |key| {
            let rule = self.policy.rule(&key.1);
            let machines = self.projected(key, seen.get(key).unwrap_or(&nobody), course);
            let reaches = |days: &[CountedDay]| {
                days.iter().filter(|day| day.confirmed).count() >= rule.min_days as usize
            };
            let machines: BTreeMap<MachineId, Vec<CountedDay>> =
                machines.into_iter().filter(|(_, days)| reaches(days)).collect();
            Counter::of(first, machines.values())
        })
    }

    /// The lines of these keys and of what is declared and adjusted, without prices.
    fn lines_of(
        &self,
        seats: &BTreeSet<(CustomerId, Sku)>,
        course: Course,
        counter: impl Fn(&(CustomerId, Sku)) -> Counter,
    ) -> Result<Vec<Line>, TooLarge> {
        let adjusted = self.usage.adjusted(self.period);
        let mut declared = self.usage.declared(self.period);
        if course != Course::Ends {
            for (key, quantity) in self.usage.declared(self.period.previous()) {
                declared.entry(key).or_insert(quantity);
            }
        }
        let keys: BTreeSet<&(CustomerId, Sku)> =
            seats.iter().chain(declared.keys()).chain(adjusted.keys()).collect();
        let mut lines = Vec::new();
        for key in keys {
            let (customer, sku) = key;
            let count = self.policy.rule(sku).count;
            let measured = measure(count, &counter(key), self.days, self.days.len());
            let declared = Quantity::units(declared.get(key).copied().unwrap_or(0));
            let adjusted = Quantity::units(adjusted.get(key).copied().unwrap_or(0));
            lines.push(Line {
                customer: customer.clone(),
                sku: sku.clone(),
                count,
                day: None,
                confirmed: measured.confirmed,
                presumed: measured.total.minus(measured.confirmed)?,
                measured: measured.total,
                declared,
                adjusted,
                quantity: measured.total.plus(declared)?.plus(adjusted)?.max(Quantity::ZERO),
                price: None,
            });
        }
        Ok(lines)
    }

    /// Seats with those of the days to come: what [`Month::projected`] adds machine by machine.
    fn goes_on(&self, counter: &Counter, course: Course) -> Counter {
        let mut counter = counter.clone();
        let (past, rest) = self.days.split_at(self.begun);
        let (Some(first), Some(today)) = (past.first(), past.last()) else { return counter };
        let place = |day: Day| usize::try_from(day.days_since(first.day)).unwrap_or(DAYS_MAX);
        let at = |counts: &[u32; DAYS_MAX]| counts.get(place(today.day)).copied().unwrap_or(0);
        let (seats, confirmed) = match course {
            Course::Ends => return counter,
            Course::GoesOn => (at(&counter.seats), at(&counter.confirmed)),
            Course::AllReturn => (counter.machines, counter.machines),
        };
        for day in rest.iter().map(|day| place(day.day)).filter(|place| *place < DAYS_MAX) {
            (counter.seats[day], counter.confirmed[day]) = (seats, confirmed);
        }
        if course == Course::AllReturn && !rest.is_empty() {
            counter.confirmed_machines = counter.machines;
        }
        counter
    }

    /// The counted days of machines, with those to come.
    fn projected(
        &self,
        (customer, sku): &(CustomerId, Sku),
        machines: &BTreeMap<MachineId, Vec<CountedDay>>,
        course: Course,
    ) -> BTreeMap<MachineId, Vec<CountedDay>> {
        let turns = |turned: &BTreeSet<SeatKey>, machine: &MachineId| {
            !turned.is_empty() && turned.contains(&(customer.clone(), sku.clone(), machine.clone()))
        };
        let (past, rest) = self.days.split_at(self.begun);
        let today = past.last().map(|day| day.day);
        let goes_on = |days: &[CountedDay]| match course {
            Course::Ends => None,
            Course::GoesOn => days.last().filter(|day| Some(day.day) == today).map(|day| day.confirmed),
            Course::AllReturn => (!days.is_empty()).then_some(true),
        };
        let project = |(machine, days): (&MachineId, &Vec<CountedDay>)| {
            let mut days = days.clone();
            let goes_on = if turns(&self.turns.end, machine) {
                None
            } else if turns(&self.turns.begin, machine) {
                Some(true)
            } else {
                goes_on(&days)
            };
            if let Some(confirmed) = goes_on {
                days.extend(rest.iter().map(|day| CountedDay { day: day.day, confirmed }));
            }
            (machine.clone(), days)
        };
        let unseen = Vec::new();
        let new = self.turns.begin.iter().filter(|(whose, what, machine)| {
            whose == customer && what == sku && !machines.contains_key(machine)
        });
        let new = new.map(|(_, _, machine)| (machine, &unseen));
        machines.iter().chain(new).map(project).collect()
    }
}

/// Lines with their costs, and what they earn.
#[derive(Default)]
struct Priced<'a> {
    lines: Cow<'a, [Line]>,
    earnings: Vec<EarningsRow>,
}

impl<'a> Priced<'a> {
    fn of(lines: impl Into<Cow<'a, [Line]>>, policy: &Policy) -> Result<Self, TooLarge> {
        let lines = lines.into();
        Ok(Self { earnings: earnings(&lines, policy)?, lines })
    }
}

fn forecast_lines(lower: &Priced<'_>, expected: &Priced<'_>, upper: &Priced<'_>) -> Vec<ForecastLine> {
    type Key<'a> = (&'a CustomerId, &'a Sku);
    fn by_key<'a>(priced: &'a Priced<'_>) -> BTreeMap<Key<'a>, &'a Line> {
        priced.lines.iter().map(|line| ((&line.customer, &line.sku), line)).collect()
    }
    let (lower, upper) = (by_key(lower), by_key(upper));
    let revenues: BTreeMap<Key<'_>, Decimal> =
        expected.earnings.iter().map(|row| ((&row.customer, &row.sku), row.revenue)).collect();
    let quantity = |lines: &BTreeMap<Key<'_>, &Line>, line: &Line| {
        lines.get(&(&line.customer, &line.sku)).map_or(Quantity::ZERO, |line| line.quantity)
    };
    let row = |line: &Line| ForecastLine {
        customer: line.customer.clone(),
        sku: line.sku.clone(),
        count: line.count,
        lower: quantity(&lower, line),
        expected: line.quantity,
        upper: quantity(&upper, line),
        cost: line.price.as_ref().map(|price| price.cost),
        revenue: revenues.get(&(&line.customer, &line.sku)).copied(),
        currency: line.price.as_ref().map(|price| price.currency.clone()),
    };
    let rows = expected.lines.iter().map(row);
    rows.filter(|row| ![row.lower, row.expected, row.upper].iter().all(|one| one.is_zero())).collect()
}

fn totals(courses: [&Priced<'_>; 3]) -> Result<Vec<ForecastTotal>, TooLarge> {
    let mut sums: BTreeMap<Option<&str>, [(Decimal, Decimal); 3]> = BTreeMap::new();
    let nothing = Decimal::zero(0);
    for (course, Priced { lines, earnings }) in courses.into_iter().enumerate() {
        for price in lines.iter().filter_map(|line| line.price.as_ref()) {
            let sum = sums.entry(Some(&price.currency)).or_insert([(nothing, nothing); 3]);
            sum[course].0 = sum[course].0.plus(price.cost)?;
        }
        for row in earnings {
            let sum = sums.entry(row.currency.as_deref()).or_insert([(nothing, nothing); 3]);
            sum[course].1 = sum[course].1.plus(row.revenue)?;
        }
    }
    let money = |(cost, revenue): (Decimal, Decimal)| -> Result<Money, TooLarge> {
        let profit = revenue.minus(cost)?;
        Ok(Money { cost, revenue, profit, margin: profit.ratio(revenue, RATIO_DIGITS)? })
    };
    sums.into_iter()
        .map(|(currency, [lower, expected, upper])| {
            Ok(ForecastTotal {
                currency: currency.map(str::to_owned),
                lower: money(lower)?,
                expected: money(expected)?,
                upper: money(upper)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::record_set::RecordSet;
    use crate::scenario::{Scenario, instant};

    fn policy(count: &str, rest: &str) -> String {
        format!(
            "presume_days = 0\n[default_sku]\na = \"A\"\n[sku.A]\ncount = \"{count}\"\nprice_group = \"g\"\n{rest}\n\
             [price_group.g]\ndistributor = \"d\"\ncurrency = \"EUR\"\ntiers = [{{ from = 1, cost = \"2.00\" }}]\n\
             [price.A]\nreseller = \"3.00\""
        )
    }

    /// Three machines: one until today, one until yesterday, one today for the first time.
    fn scenario(policy: &str) -> Scenario {
        let named = ["m", "n", "o"].into_iter().fold(Scenario::bare().policy(policy), |scenario, machine| {
            scenario.assigned("09-01 00:00", machine, "acme")
        });
        named.reports("m", 1..=10, "a").reports("n", 5..=9, "a").reports("o", [10], "a")
    }

    fn at(scenario: &Scenario, policy: &str, now: &str) -> Forecast {
        let (policy, now) = (Policy::parse(policy).unwrap(), instant(now).parse().unwrap());
        let records = RecordSet::new(Record::parse_jsonl(scenario.records()).unwrap(), Some(now));
        forecast(&records.usage(&policy.zone), &policy, "2026-10".parse().unwrap(), now).unwrap()
    }

    fn bounds(policy: &str, now: &str) -> String {
        let forecast = at(&scenario(policy), policy, now);
        let told = |line: &ForecastLine| format!("{} {} {}", line.lower, line.expected, line.upper);
        forecast.lines.iter().map(told).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_count_carries_the_seats_of_today_to_the_end_in_its_own_way() {
        for (count, expected) in [
            // Two on the tenth are already the most; three if all come back.
            ("high_water", "2 2 3"),
            ("distinct", "3 3 3"),
            ("month_end", "0 2 3"),
            // 16 seat-days of 31 so far; 21 days of two, or of three, to come.
            ("average", "0.52 1.87 2.55"),
        ] {
            assert_eq!(bounds(&policy(count, ""), "10-10 12:00"), expected, "{count}");
        }
    }

    #[test]
    fn on_the_last_day_all_three_are_what_is_used() {
        for count in ["high_water", "distinct", "month_end", "average"] {
            let policy = policy(count, "");
            let scenario = scenario(&policy).reports("m", [31], "a");
            let forecast = at(&scenario, &policy, "10-31 12:00");
            let line = &forecast.lines[0];
            let used = scenario.cut_off("10-31 12:00").output().statement.lines[0].quantity;
            assert_eq!((line.lower, line.expected, line.upper), (used, used, used), "{count}");
            assert_eq!(forecast.rests_on, "all days of the month");
        }
    }

    #[test]
    fn days_that_are_still_to_be_confirmed_may_pass_a_filter() {
        assert_eq!(bounds(&policy("high_water", "min_days = 12"), "10-10 12:00"), "0 2 3");
        assert_eq!(bounds(&policy("high_water", "min_days = 10"), "10-10 12:00"), "1 2 3");
    }

    #[test]
    fn cost_revenue_and_margin_come_by_currency_for_each_bound() {
        let policy = policy("month_end", "");
        let forecast = at(&scenario(&policy), &policy, "10-10 12:00");
        let told = |money: &Money| {
            let margin = money.margin.map_or("-".to_owned(), |margin| margin.to_string());
            format!("{} {} {} {margin}", money.cost, money.revenue, money.profit)
        };
        let total = &forecast.totals[0];
        assert_eq!(total.currency.as_deref(), Some("EUR"));
        assert_eq!(told(&total.lower), "0.00 0.00 0.00 -");
        assert_eq!(told(&total.expected), "4.00 6.00 2.00 0.3333");
        assert_eq!(told(&total.upper), "6.00 9.00 3.00 0.3333");
        assert_eq!((forecast.days_begun, forecast.days), (10, 31));
    }

    #[test]
    fn what_was_declared_last_month_is_expected_again_until_it_is_declared() {
        let policy = policy("high_water", "");
        let declared = Scenario::bare().policy(&policy).declared("09-30 00:00", "acme", "M", "2026-09", 40);
        let bounds = |scenario: &Scenario| {
            let line = &at(scenario, &policy, "10-10 12:00").lines[0];
            [line.lower, line.expected, line.upper].map(|one| one.to_string()).join(" ")
        };
        assert_eq!(bounds(&declared), "0 40 40");
        assert_eq!(bounds(&declared.declared("10-09 00:00", "acme", "M", "2026-10", 7)), "7 7 7");
    }
}
