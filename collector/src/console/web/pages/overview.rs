//! The overview: what needs somebody first, then the month so far and who reports. Invariant: whatever needs somebody
//! says where or how it is settled; an amount is shown to those alone who see money.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::{Extension, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use seatbeat_ledger::forecast::{ForecastTotal, Money};
use seatbeat_ledger::money::{Decimal, Quantity};
use seatbeat_ledger::month_to_date::DaySeats;
use seatbeat_ledger::operators::Right;

use super::chart::{Chart, Series, Shape, highest_first};
use super::shell::Shell;
use super::statements::percent;
use super::{Page, Shown};
use crate::console::auth::Caller;
use crate::console::overview::{MonthBefore, Overview};
use crate::console::rights::{Needs, Whose};
use crate::console::web::{Route, Web};
use needs::Need;

mod needs;

/// Digits of an amount that is nothing.
const PLACES: u32 = 2;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![Route { path: "/", needs: Needs::Right(Right::See, Whose::Customers), service: get(page) }]
}

#[derive(Template)]
#[template(path = "overview/page.html")]
struct Body {
    shell: Shell,
    period: String,
    has_customers: bool,
    has_machines: bool,
    needs: Vec<Need>,
    cards: Vec<Card>,
    chart: Option<String>,
    versions: Vec<(String, u64)>,
}

/// A figure, and what it is measured against.
struct Card {
    title: String,
    figure: String,
    beside: Vec<String>,
}

async fn page(shell: Shell, State(web): State<Web>, Extension(caller): Extension<Caller>) -> Shown {
    let overview = web.console.overview(&caller, 0).await?;
    let mut versions: Vec<(String, u64)> = overview.field.versions.clone().into_iter().collect();
    versions.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let body = Body {
        period: overview.period.to_string(),
        has_customers: overview.customers > 0,
        has_machines: overview.field.machines > 0,
        needs: needs::of(&overview, &shell),
        cards: cards(&overview),
        chart: chart(&overview.by_day, &overview.period.to_string()),
        versions,
        shell,
    };
    Ok(Page(body).into_response())
}

fn cards(overview: &Overview) -> Vec<Card> {
    let Overview { period, by_day, last, field, .. } = overview;
    let today = by_day.days.last().map(|day| format!("on {}", day.date())).unwrap_or_default();
    let mut cards = vec![
        Card {
            title: "Seats today".to_owned(),
            figure: overview.seats_today.to_string(),
            beside: vec![today],
        },
        Card {
            title: format!("Seats in {period} so far"),
            figure: overview.quantity.to_string(),
            beside: vec![match last {
                Some(last) => format!("{}: {}{}", named(last), last.quantity, more(overview, last)),
                None => format!("nobody was there in {}", period.previous()),
            }],
        },
    ];
    for currency in currencies(overview) {
        let of = |all: &[(Option<String>, Money)]| {
            all.iter().find(|(one, _)| *one == currency).map(|(_, money)| money.clone())
        };
        let nothing = Decimal::zero(PLACES);
        let nothing = Money { cost: nothing, revenue: nothing, profit: nothing, margin: None };
        let money = of(&overview.money).unwrap_or(nothing);
        let before = last.as_ref().and_then(|last| Some((named(last), of(&last.money)?)));
        let to_come = overview.forecast.as_ref();
        let to_come = to_come.and_then(|all| all.totals.iter().find(|one| one.currency == currency));
        let unit = currency.clone().unwrap_or_else(|| "cost not known".to_owned());
        let card = |title: &str, of: fn(&Money) -> String| Card {
            title: format!("{title} so far, {unit}"),
            figure: of(&money),
            beside: [
                to_come.map(|total| expected(total, of)),
                before.as_ref().map(|(month, money)| format!("{month}: {}", of(money))),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        cards.push(card("Cost", |money| money.cost.to_string()));
        cards.push(card("Revenue", |money| money.revenue.to_string()));
        cards.push(card("Margin", margin));
    }
    let heard = field.machines.saturating_sub(field.silent);
    let share = heard.saturating_mul(100).checked_div(field.machines);
    cards.push(Card {
        title: "Coverage".to_owned(),
        figure: share.map_or_else(|| "-".to_owned(), |share| format!("{share} %")),
        beside: vec![
            format!("{heard} of {} heard from in {} days", field.machines, overview.coverage_days),
            format!("{} of 100 are needed", overview.coverage_percent),
        ],
    });
    cards.push(Card {
        title: "Connected now".to_owned(),
        figure: overview.connected.to_string(),
        beside: vec![format!("of {} machines", field.machines)],
    });
    cards
}

/// Those of which there is something to show, now, to come or of the month before.
fn currencies(overview: &Overview) -> BTreeSet<Option<String>> {
    let now = overview.money.iter().map(|(currency, _)| currency);
    let before = overview.last.iter().flat_map(|last| &last.money).map(|(currency, _)| currency);
    let to_come = overview.forecast.iter().flat_map(|all| &all.totals).map(|total| &total.currency);
    now.chain(before).chain(to_come).cloned().collect()
}

/// The month before, and whether that is settled.
fn named(last: &MonthBefore) -> String {
    let open = if last.is_sealed { "" } else { ", not sealed" };
    format!("{}{open}", last.period)
}

fn more(overview: &Overview, last: &MonthBefore) -> String {
    match overview.quantity.minus(last.quantity) {
        Ok(more) if more > Quantity::ZERO => format!(", {more} more now"),
        Ok(less) if less < Quantity::ZERO => {
            format!(", {} fewer now", less.to_string().trim_start_matches('-'))
        }
        _ => ", as many now".to_owned(),
    }
}

fn expected(total: &ForecastTotal, of: fn(&Money) -> String) -> String {
    let [lower, expected, upper] = [&total.lower, &total.expected, &total.upper].map(of);
    if lower == upper {
        format!("expected: {expected}")
    } else {
        format!("expected: {expected}, from {lower} to {upper}")
    }
}

/// What is left, and its share of the revenue.
fn margin(money: &Money) -> String {
    match money.margin {
        Some(_) => format!("{} ({})", money.profit, percent(money.margin)),
        None => money.profit.to_string(),
    }
}

/// Seats per day by SKU. None: there are none.
fn chart(by_day: &DaySeats, period: &str) -> Option<String> {
    let value = |seats: &u64| Some(i64::try_from(*seats).unwrap_or(i64::MAX));
    let there = by_day.skus.iter().filter(|(_, seats)| seats.iter().any(|seats| *seats > 0));
    let series: Vec<Series> = there
        .map(|(sku, seats)| Series { name: sku.to_string(), values: seats.iter().map(value).collect() })
        .collect();
    if series.is_empty() {
        return None;
    }
    let chart = Chart {
        title: format!("Seats per day in {period}, by SKU"),
        over: "Day",
        unit: "seats".to_owned(),
        places: 0,
        labels: by_day.days.iter().map(|day| day.date().day().to_string()).collect(),
        series: highest_first(series),
        shape: Shape::Stack,
        marks: Vec::new(),
    };
    Some(chart.drawn())
}

#[cfg(test)]
mod tests {
    use seatbeat_ledger::calendar::Day;

    use super::*;

    #[test]
    fn a_day_has_its_seats_and_nobody_draws_nothing() {
        let first = Day::of("2026-10-01".parse().unwrap());
        let skus = [("SKU-A", vec![3, 17]), ("SKU-B", vec![0, 0])];
        let skus = skus.map(|(sku, seats)| (sku.parse().unwrap(), seats));
        let by_day = DaySeats { days: vec![first, first.plus(1)], skus: skus.into_iter().collect() };
        let drawn = chart(&by_day, "2026-10").unwrap();
        assert!(drawn.contains("<td class=\"number\">17</td>") && !drawn.contains("SKU-B"), "{drawn}");
        assert_eq!(chart(&DaySeats::default(), "2026-10"), None);
    }
}
