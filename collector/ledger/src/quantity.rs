//! Rules 10 and 11: from seats to quantities, and what is declared and adjusted on top.
//! Invariant: confirmed and presumed add up to measured; a quantity is never below 0.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use seatbeat_proto::ids::CustomerId;

use crate::calendar::{Day, Period, UsageDay};
use crate::counts::{Counter, Counts};
use crate::findings::Findings;
use crate::money::{Quantity, TooLarge};
use crate::policy::{Count, Policy};
use crate::record::Sku;
use crate::statement::{Blocker, Line};
use crate::usage::Usage;

/// What agents saw of a (customer, SKU) in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// The part that was seen.
    pub confirmed: Quantity,
    /// Both parts.
    pub total: Quantity,
    /// The day of the high water.
    pub day: Option<Day>,
}

/// Measures seats by a SKU's count; `days` are the begun days of a month of `month_days` days.
pub fn measure(count: Count, seats: &Counter, days: &[UsageDay], month_days: usize) -> Measured {
    let first = days.first().map(|day| day.day);
    let of_day = |day: Day| {
        let place = first.map_or(0, |first| day.days_since(first)) as usize;
        (seats.seats.get(place).copied().unwrap_or(0), seats.confirmed.get(place).copied().unwrap_or(0))
    };
    match count {
        Count::HighWater => {
            let water = days.iter().map(|day| (of_day(day.day), day.day)).filter(|(level, _)| level.0 > 0);
            let Some(((high, confirmed), day)) = water.max_by_key(|(level, day)| (*level, Reverse(*day)))
            else {
                return Measured::default();
            };
            Measured { day: Some(day), ..whole(confirmed, high) }
        }
        Count::Distinct => whole(seats.confirmed_machines, seats.machines),
        Count::MonthEnd => {
            let (last, confirmed) = days.last().map_or((0, 0), |day| of_day(day.day));
            whole(confirmed, last)
        }
        Count::Average => {
            let sum = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).sum();
            let month_days = month_days as u64;
            Measured {
                confirmed: Quantity::average(sum(&seats.confirmed), month_days),
                total: Quantity::average(sum(&seats.seats), month_days),
                day: None,
            }
        }
    }
}

fn whole(confirmed: u32, total: u32) -> Measured {
    Measured {
        confirmed: Quantity::units(u64::from(confirmed)),
        total: Quantity::units(u64::from(total)),
        day: None,
    }
}

/// The lines of a period, sorted, without prices.
pub fn lines(
    usage: &Usage,
    policy: &Policy,
    period: Period,
    days: &[UsageDay],
    counts: &Counts,
    findings: &mut Findings,
) -> Result<Vec<Line>, TooLarge> {
    let (declared, adjusted) = (usage.declared(period), usage.adjusted(period));
    findings.note_declared_missing(&usage.declared(period.previous()), &declared);
    let month_days = usage.zone().days(period).len();
    let mut keys: BTreeSet<(CustomerId, Sku)> = declared.keys().chain(adjusted.keys()).cloned().collect();
    keys.extend(counts.lines().map(|(customer, sku, _)| (customer.clone(), sku.clone())));
    let nobody = Counter::default();
    let mut lines = Vec::new();
    for key in &keys {
        let (customer, sku) = key;
        let count = policy.rule(sku).count;
        let measured = measure(count, counts.line(customer, sku).unwrap_or(&nobody), days, month_days);
        let declared = Quantity::units(declared.get(key).copied().unwrap_or(0));
        let adjusted = Quantity::units(adjusted.get(key).copied().unwrap_or(0));
        if measured.total.is_zero() && declared.is_zero() && adjusted.is_zero() {
            continue;
        }
        let sum = measured.total.plus(declared)?.plus(adjusted)?;
        if sum < Quantity::ZERO {
            findings.blockers.insert(Blocker::negative_quantity(customer, sku));
        }
        lines.push(Line {
            customer: customer.clone(),
            sku: sku.clone(),
            count,
            day: measured.day.map(Day::date),
            confirmed: measured.confirmed,
            presumed: measured.total.minus(measured.confirmed)?,
            measured: measured.total,
            declared,
            adjusted,
            quantity: sum.max(Quantity::ZERO),
            price: None,
        });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn count(count: &str, presume_days: u32) -> Scenario {
        Scenario::new()
            .policy(&format!("presume_days = {presume_days}"))
            .policy(&format!("[sku.A]\ncount = \"{count}\""))
            .assigned("09-01 00:00", "n", "acme")
            .assigned("09-01 00:00", "o", "acme")
    }

    fn check(scenario: &Scenario, lines: &[&str]) {
        assert_eq!(scenario.lines(), lines);
    }

    #[test]
    fn high_water_names_the_day_with_most_seats_then_most_confirmed_then_the_first() {
        let two = count("high_water", 2).reports("m", 1..=9, "a").reports("n", [3, 5, 6], "a");
        check(&two, &["acme A 2=2+0 on 3"]);
        let presumed = count("high_water", 1).reports("m", [1, 3], "a").reports("n", [2, 3], "a");
        check(&presumed, &["acme A 2=2+0 on 3"]);
        let less = count("high_water", 1).reports("m", [1], "a").reports("n", [2], "a");
        check(&less, &["acme A 2=1+1 on 2"]);
    }

    #[test]
    fn distinct_counts_machines_confirmed_by_any_counted_day() {
        let machines = count("distinct", 5)
            .reports("m", [1], "a")
            .reports("n", [9], "a")
            .report("o", "09-29 08:00", "a")
            .report("o", "10-02 08:00", "a-");
        check(&machines, &["acme A 3=2+1"]);
    }

    #[test]
    fn month_end_counts_the_last_day_only() {
        let last =
            count("month_end", 1).reports("m", [31], "a").reports("n", [30], "a").reports("o", [29], "a");
        check(&last, &["acme A 2=1+1"]);
        check(&count("month_end", 1).reports("m", [29], "a"), &[]);
        check(
            &count("month_end", 1).reports("m", [29, 30, 31], "a").cut_off("10-29 12:00"),
            &["acme A 1=1+0"],
        );
    }

    #[test]
    fn average_parts_seat_days_by_the_days_of_the_month_rounding_half_up() {
        check(&count("average", 0).reports("m", 1..=31, "a"), &["acme A 1=1+0"]);
        // 3 of 31 confirmed: 0.0967…, 5 of 31 in all: 0.1612…
        check(&count("average", 2).reports("m", 1..=3, "a"), &["acme A 0.16=0.1+0.06"]);
        check(&count("average", 0).reports("m", 1..=1, "a"), &["acme A 0.03=0.03+0"]);
        // The divisor stays the month's days.
        check(&count("average", 0).reports("m", 1..=9, "a").cut_off("10-05 12:00"), &["acme A 0.16=0.16+0"]);
        let february = count("average", 0).period("2026-02").report("m", "02-11 08:00", "a");
        check(&february, &["acme A 0.04=0.04+0"]);
    }

    #[test]
    fn a_day_is_named_for_a_high_water_with_measured_seats_only() {
        let declared = count("high_water", 0).declared("10-31 00:00", "acme", "A", "2026-10", 4);
        check(&declared, &["acme A 4=0+0"]);
    }

    #[test]
    fn declared_and_adjusted_come_on_top() {
        let scenario = count("high_water", 0)
            .reports("m", [1], "a")
            .declared("10-31 00:00", "acme", "A", "2026-10", 40)
            .adjusted("11-02 00:00", "acme", "A", "2026-10", -3)
            .adjusted("11-02 00:01", "acme", "A", "2026-10", 1);
        let line = scenario.line_of("acme", "A").unwrap();
        let said = [line.measured, line.declared, line.adjusted, line.quantity].map(|part| part.to_string());
        assert_eq!(said, ["1", "40", "-2", "39"]);
    }

    #[test]
    fn the_latest_declaration_holds_and_the_greater_of_two_at_one_instant() {
        let declared = |one: (&str, u64), other: (&str, u64)| {
            Scenario::new()
                .declared(one.0, "acme", "M", "2026-10", one.1)
                .declared(other.0, "acme", "M", "2026-10", other.1)
                .lines()
        };
        assert_eq!(declared(("10-30 00:00", 9), ("10-31 00:00", 4)), ["acme M 4=0+0"]);
        assert_eq!(declared(("10-31 00:00", 9), ("10-31 00:00", 4)), ["acme M 9=0+0"]);
        assert_eq!(declared(("10-30 00:00", 9), ("10-31 00:00", 0)), [""; 0]);
    }

    #[test]
    fn equal_adjustments_are_one_and_different_ones_add_up() {
        let twice = Scenario::new().adjusted("11-02 00:00", "acme", "A", "2026-10", 2).adjusted(
            "11-02 00:00",
            "acme",
            "A",
            "2026-10",
            2,
        );
        check(&twice, &["acme A 2=0+0"]);
        let other = twice.line(
            r#"{"type":"adjusted","at":"2026-11-02T00:00:00Z","customer":"cus_acme","sku":"A","period":"2026-10","delta":2,"id":"second"}"#,
        );
        check(&other, &["acme A 4=0+0"]);
    }

    #[test]
    fn a_quantity_below_nothing_is_nothing_and_blocks() {
        let below =
            Scenario::new().reports("m", [31], "a").adjusted("11-02 00:00", "acme", "A", "2026-10", -2);
        check(&below, &["acme A 0=1+0 on 31"]);
        assert_eq!(below.blockers(), ["negative_quantity cus_acme A"]);
        let exactly =
            Scenario::new().reports("m", [31], "a").adjusted("11-02 00:00", "acme", "A", "2026-10", -1);
        check(&exactly, &["acme A 0=1+0 on 31"]);
        assert_eq!(exactly.blockers(), [""; 0]);
    }

    #[test]
    fn a_line_with_nothing_measured_declared_or_adjusted_is_left_out() {
        let nothing = Scenario::new()
            .declared("10-31 00:00", "acme", "M", "2026-10", 0)
            .adjusted("11-02 00:00", "acme", "N", "2026-10", 1)
            .adjusted("11-02 00:01", "acme", "N", "2026-10", -1);
        check(&nothing, &[]);
        let evened = Scenario::new().declared("10-31 00:00", "acme", "M", "2026-10", 2).adjusted(
            "11-02 00:00",
            "acme",
            "M",
            "2026-10",
            -2,
        );
        check(&evened, &["acme M 0=0+0"]);
    }

    #[test]
    fn declared_before_and_not_at_all_now_is_flagged() {
        let before = |quantity| Scenario::new().declared("09-30 00:00", "acme", "M", "2026-09", quantity);
        assert_eq!(before(3).flags(), ["declared_missing cus_acme M"]);
        assert_eq!(before(0).flags(), [""; 0]);
        assert_eq!(before(3).declared("10-31 00:00", "acme", "M", "2026-10", 0).flags(), [""; 0]);
        assert_eq!(before(3).declared("10-31 00:00", "acme", "N", "2026-10", 3).flags().len(), 1);
        assert_eq!(before(3).period("2026-11").flags(), [""; 0]);
    }
}
