//! What if: other seats, another price, other tiers, beside what is, with a chart of the way there. Invariant: asking
//! changes nothing; every point of the chart is priced by the rules that the answer is.

use askama::Template;
use axum::extract::{Extension, State};
use axum::response::IntoResponse as _;
use axum::routing::get;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::money::{Decimal, UnitPrice};
use seatbeat_ledger::whatif::{Question, Side};
use serde::Deserialize;

use super::super::chart::{Chart, Series, Shape};
use super::super::shell::Shell;
use super::super::statements::percent;
use super::super::{Page, Shown};
use super::{BILLS, Web};
use crate::console::auth::Caller;
use crate::console::fault::{Fault, period};
use crate::console::web::Route;
use crate::console::web::form::Asked;
use crate::console::what_if::Course;

/// The routes of this room.
pub fn routes() -> Vec<Route> {
    vec![Route { path: "/prices/what-if", needs: BILLS, service: get(what_if) }]
}

/// What is asked, as it was typed in.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Form {
    sku: String,
    customer: String,
    seats: String,
    price: String,
    tiers: String,
    period: String,
}

#[derive(Template)]
#[template(path = "prices/what_if.html")]
struct WhatIf {
    shell: Shell,
    form: Form,
    told: Option<Told>,
}

/// An answer, in words.
struct Told {
    group: String,
    currency: String,
    /// What, now, then, and the change.
    rows: Vec<(&'static str, String, String, String)>,
    next: Vec<(&'static str, String)>,
    /// Drawn here, with its texts escaped.
    charts: Vec<String>,
}

async fn what_if(
    shell: Shell,
    State(web): State<Web>,
    Extension(_caller): Extension<Caller>,
    Asked(form): Asked<Form>,
) -> Shown {
    let told = match form.sku.trim() {
        "" => None,
        _ => {
            let (of, question) = form.question()?;
            Some(Told::of(&web.console.what_if_course(of, question, 0).await?))
        }
    };
    Ok(Page(WhatIf { shell, form, told }).into_response())
}

impl Form {
    fn question(&self) -> Result<(Option<Period>, Question), Fault> {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let sku = self.sku.trim().parse();
        let seats = match self.seats.trim() {
            "" => 0,
            text => text.parse().map_err(|_| Fault::value("the seats", "are no whole number, as 5 or -3"))?,
        };
        let price = some(&self.price).map(|text| text.parse::<UnitPrice>()).transpose();
        let question = Question {
            sku: sku.map_err(|error| Fault::value("the SKU", format!("is not valid: {error}")))?,
            customer: some(&self.customer).map(|text| text.parse()).transpose()?,
            seats,
            price: price.map_err(|error| Fault::value("the price", error))?,
            tiers: tiers(&self.tiers)?,
        };
        Ok((some(&self.period).map(|text| period(&text)).transpose()?, question))
    }
}

/// Tiers as `1=2.10 25=1.80`.
fn tiers(text: &str) -> Result<Vec<(u64, UnitPrice)>, Fault> {
    let tier = |text: &str| {
        let refused = || Fault::value("the tiers", format!("have `{text}`: a tier is written as 25=1.80"));
        let (from, cost) = text.split_once('=').ok_or_else(refused)?;
        Ok((from.parse().map_err(|_| refused())?, cost.parse().map_err(|_| refused())?))
    };
    text.split([' ', ',', ';']).filter(|text| !text.is_empty()).map(tier).collect()
}

impl Told {
    fn of(course: &Course) -> Self {
        let answer = &course.answer;
        let (now, then) = (&answer.now, &answer.then);
        let plain = |what, now: String, then: String| (what, now, then, String::new());
        let amount = |what, now: Decimal, then: Decimal, change: Decimal| {
            (what, now.to_string(), then.to_string(), change.to_string())
        };
        let rows = vec![
            plain("Units of the price group", now.quantity.to_string(), then.quantity.to_string()),
            plain("Tier from", now.tier.from.to_string(), then.tier.from.to_string()),
            plain("Unit cost", now.tier.unit_cost.to_string(), then.tier.unit_cost.to_string()),
            amount("Cost", now.cost, then.cost, answer.cost_difference),
            amount("Revenue", now.revenue, then.revenue, answer.revenue_difference),
            amount("Profit", now.profit, then.profit, answer.profit_difference),
            plain("Margin", percent(now.margin), percent(then.margin)),
            plain("Units without a price", now.unpriced.to_string(), then.unpriced.to_string()),
        ];
        let next = then.next_tier.as_ref().map_or_else(Vec::new, |next| {
            vec![
                ("The next tier begins at", next.from.to_string()),
                ("A unit costs there", next.unit_cost.to_string()),
                ("Units that are missing", next.missing.to_string()),
                ("It saves on the units that are there", next.saves.to_string()),
                ("What all cost more with the missing ones", next.extra_cost.to_string()),
            ]
        });
        Self {
            group: answer.price_group.clone(),
            currency: answer.currency.clone(),
            rows,
            next,
            charts: charts(course).iter().map(Chart::drawn).collect(),
        }
    }
}

/// What the units cost and earn, and what one of them costs, over their number.
fn charts(course: &Course) -> [Chart; 2] {
    let sides = &course.sides;
    let (answer, digits) = (&course.answer, course.group.digits());
    let unit_digits = sides.iter().map(|side| side.tier.unit_cost.value().scale()).max().unwrap_or(0);
    let series = |name: &str, places: u32, value: &dyn Fn(&Side) -> Decimal| Series {
        name: name.to_owned(),
        values: sides.iter().map(|side| i64::try_from(value(side).rescaled(places).ok()?).ok()).collect(),
    };
    let begins = sides.windows(2).enumerate().filter(|(_, pair)| pair[0].tier.from != pair[1].tier.from);
    let marks: Vec<usize> = begins.map(|(at, _)| at + 1).collect();
    let chart = |title: &str, places: u32, series: Vec<Series>| Chart {
        title: title.to_owned(),
        over: "Units",
        unit: answer.currency.clone(),
        places,
        labels: sides.iter().map(|side| side.quantity.to_string()).collect(),
        series,
        shape: Shape::Steps,
        marks: marks.clone(),
    };
    let amounts = vec![
        series("Cost", digits, &|side| side.cost),
        series("Revenue", digits, &|side| side.revenue),
        series("Margin", digits, &|side| side.profit),
    ];
    let unit = vec![series("Unit cost", unit_digits, &|side| side.tier.unit_cost.value())];
    [
        chart("Cost and margin over units; tiers begin at the dashed lines", digits, amounts),
        chart("Unit cost over units; tiers begin at the dashed lines", unit_digits, unit),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_read_as_they_are_written() {
        let read = |text: &str| tiers(text).map_err(|fault| fault.words());
        assert_eq!(read("1=2.10, 25=1.80").unwrap().len(), 2);
        assert_eq!(read("").unwrap(), []);
        assert!(read("1=2 x").unwrap_err().contains("`x`: a tier is written as 25=1.80"));
    }
}
