//! Level 1: the statement computed again from its rows and its own policy, by the rules that made it. Invariant: each
//! number of the body that follows from others is compared; a difference is named by its line and field.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, month_days};
use crate::body::StatementBody;
use crate::bundle::Section;
use crate::money::Quantity;
use crate::policy::Policy;
use crate::pricing::price_lines;
use crate::statement::{Correction, DEFAULT_DISTRIBUTOR, Line, totals};
use crate::tally::Tally;

/// Compares the body with what its rows make.
pub(super) fn recompute(
    body: &StatementBody,
    policy: &Policy,
    tallies: &BTreeMap<Section, Tally>,
    found: &mut Vec<Failure>,
) {
    let statement = &body.statement;
    if statement.zone != policy.zone {
        value("statement", "zone", statement.zone.name(), policy.zone.name(), found);
    }
    let mut due: Vec<Line> = Vec::with_capacity(statement.lines.len());
    for line in &statement.lines {
        match recount(body, policy, line, tallies) {
            Some(line) => due.push(line),
            None => found.push(too_large(&place(line))),
        }
    }
    if price_lines(&mut due, policy).is_err() {
        found.push(too_large("statement"));
    }
    for (line, due) in statement.lines.iter().zip(&due) {
        compare(line, due, found);
        let distributor = policy.distributor(&line.sku).unwrap_or(DEFAULT_DISTRIBUTOR);
        value(&place(line), "distributor of the SKU", &body.distributor, distributor, found);
    }
    compare_totals(body, &due, found);
    check_order(body, policy, tallies, found);
    check_corrections(body, found);
}

/// The line as its machines and its own declarations make it; `None` beyond what is computed exactly.
fn recount(
    body: &StatementBody,
    policy: &Policy,
    line: &Line,
    tallies: &BTreeMap<Section, Tally>,
) -> Option<Line> {
    let (period, days) = month_days(body);
    let count = policy.rule(&line.sku).count;
    let nobody = Tally::new(period);
    let tally = tallies.get(&Section::line(&line.customer, &line.sku)).unwrap_or(&nobody);
    let measured = tally.measure(count, &days);
    let sum = measured.total.plus(line.declared).ok()?.plus(line.adjusted).ok()?;
    Some(Line {
        customer: line.customer.clone(),
        sku: line.sku.clone(),
        count,
        day: measured.day.map(|day| day.date()),
        confirmed: measured.confirmed,
        presumed: measured.total.minus(measured.confirmed).ok()?,
        measured: measured.total,
        declared: line.declared,
        adjusted: line.adjusted,
        quantity: sum.max(Quantity::ZERO),
        price: None,
    })
}

fn compare(line: &Line, due: &Line, found: &mut Vec<Failure>) {
    let place = place(line);
    let name = |count| serde_json::to_value(count).ok().and_then(|name| name.as_str().map(str::to_owned));
    let day = |line: &Line| line.day.map_or("none".to_owned(), |day| day.to_string());
    let word = |name: Option<String>| name.unwrap_or_default();
    value(&place, "count", word(name(line.count)), word(name(due.count)), found);
    value(&place, "day", day(line), day(due), found);
    value(&place, "confirmed", line.confirmed, due.confirmed, found);
    value(&place, "presumed", line.presumed, due.presumed, found);
    value(&place, "measured", line.measured, due.measured, found);
    value(&place, "quantity", line.quantity, due.quantity, found);
    let price = |of: &Line, field: &str| {
        let price = serde_json::to_value(&of.price).unwrap_or_default();
        price[field].as_str().unwrap_or("none").to_owned()
    };
    for field in ["unit_cost", "cost", "currency"] {
        value(&place, field, price(line, field), price(due, field), found);
    }
}

fn compare_totals(body: &StatementBody, due: &[Line], found: &mut Vec<Failure>) {
    let Ok(due) = totals(due) else { return found.push(too_large("totals")) };
    let told = &body.statement.totals;
    let skus: BTreeSet<_> = told.iter().chain(&due).map(|total| &total.sku).collect();
    for sku in skus {
        let of = |all: &[crate::statement::Total]| {
            let total = all.iter().find(|total| total.sku == *sku);
            total.map_or("none".to_owned(), |total| total.quantity.to_string())
        };
        value(&format!("total of {sku}"), "quantity", of(told), of(&due), found);
    }
}

/// Lines stand in their order, once, and none without anything in it.
fn check_order(
    body: &StatementBody,
    policy: &Policy,
    tallies: &BTreeMap<Section, Tally>,
    found: &mut Vec<Failure>,
) {
    let lines = &body.statement.lines;
    for pair in lines.windows(2) {
        if (&pair[0].customer, &pair[0].sku) >= (&pair[1].customer, &pair[1].sku) {
            found.push(odd(&place(&pair[1]), "it is not in its place, or there twice"));
        }
    }
    for line in lines {
        if line.measured.is_zero() && line.declared.is_zero() && line.adjusted.is_zero() {
            found.push(odd(&place(line), "nothing is in it"));
        }
    }
    let (_, days) = month_days(body);
    for (section, tally) in tallies {
        let Section::Line { customer, sku } = section else { continue };
        // By `month_end` machines may stand behind a line and make nothing of it: then it is left out.
        let is_nothing = tally.measure(policy.rule(sku).count, &days).total.is_zero();
        if !is_nothing && !lines.iter().any(|line| line.customer == *customer && line.sku == *sku) {
            found.push(odd(
                &section.to_string(),
                "machines stand behind it, but the statement has no such line",
            ));
        }
    }
}

/// Corrections cannot be computed from this month's rows: what they say of themselves has to fit.
fn check_corrections(body: &StatementBody, found: &mut Vec<Failure>) {
    let period = body.statement.period;
    let corrections = &body.statement.corrections;
    let key = |one: &Correction| (one.for_period, one.customer.clone(), one.sku.clone());
    for pair in corrections.windows(2) {
        if key(&pair[0]) >= key(&pair[1]) {
            found.push(odd(&of_correction(&pair[1]), "it is not in its place, or there twice"));
        }
    }
    for one in corrections {
        let is_known = [period.previous(), period.previous().previous()].contains(&one.for_period);
        if !is_known {
            found.push(odd(&of_correction(one), "only the two months before are corrected"));
        }
        if one.delta.is_zero() {
            found.push(odd(&of_correction(one), "it corrects nothing"));
        }
        let sign = one.cost.map_or(0, |cost| cost.mantissa().signum());
        if sign != 0 && sign != one.delta.hundredths().signum() {
            found.push(odd(&of_correction(one), "its cost and its difference have not the same sign"));
        }
    }
}

fn of_correction(one: &Correction) -> String {
    format!("correction of {} for {}, {}", one.for_period, one.customer, one.sku)
}

fn place(line: &Line) -> String {
    format!("line {}, {}", line.customer, line.sku)
}

fn value(
    place: &str,
    field: &'static str,
    told: impl ToString,
    due: impl ToString,
    found: &mut Vec<Failure>,
) {
    let (told, due) = (told.to_string(), due.to_string());
    if told != due {
        found.push(Failure::Value { place: place.to_owned(), field, told, due });
    }
}

fn odd(place: &str, what: &'static str) -> Failure {
    Failure::Odd { place: place.to_owned(), what }
}

fn too_large(place: &str) -> Failure {
    odd(place, "its numbers are too large to compute with exactly")
}
