//! Statement, earnings, usage, invoices and forecast as documents. Invariant: only what goes out anyway is in a
//! statement's document: no sell price, no margin, and a customer's name only where it was asked for.

use std::collections::BTreeMap;

use seatbeat_ledger::forecast::{Forecast, Money};
use seatbeat_ledger::invoice::{InvoiceLine, Invoices};
use seatbeat_ledger::profit::{EarnedTotal, Earnings};
use seatbeat_ledger::statement::{Line, Statement};
use seatbeat_proto::ids::CustomerId;

use super::document::{Cell, Document, Table};
use super::mapping::Mapping;
use crate::console::rows::Usage;
use crate::console::words;

/// What customers are called; empty: nobody is named.
pub type Names = BTreeMap<CustomerId, String>;

fn name(names: &Names, customer: &CustomerId) -> Cell {
    Cell::text(names.get(customer).map_or("", String::as_str))
}

/// The lines of a statement, and behind them what it corrects.
pub fn statement_lines(statement: &Statement, names: &Names) -> Table {
    let mut lines = Table::new(
        "Lines",
        &[
            "for_period",
            "customer",
            "customer_name",
            "sku",
            "count",
            "day",
            "confirmed",
            "presumed",
            "measured",
            "declared",
            "adjusted",
            "quantity",
            "distributor",
            "unit_cost",
            "cost",
            "currency",
        ],
    );
    lines.rows = statement.lines.iter().map(|line| statement_row(statement, line, names)).collect();
    for one in &statement.corrections {
        let mut row = vec![Cell::Empty; lines.columns.len()];
        row[0] = Cell::text(one.for_period);
        row[1] = Cell::text(&one.customer);
        row[2] = name(names, &one.customer);
        row[3] = Cell::text(&one.sku);
        row[4] = Cell::text("correction");
        row[11] = Cell::number(one.delta);
        row[14] = Cell::maybe(one.cost);
        lines.rows.push(row);
    }
    lines
}

/// A statement; `standing` says whether it is sealed.
pub fn statement(statement: &Statement, distributor: &str, standing: String, names: &Names) -> Document {
    let lines = statement_lines(statement, names);
    let mut totals = Table::new("Totals", &["sku", "quantity"]);
    totals.rows = statement
        .totals
        .iter()
        .map(|total| vec![Cell::text(&total.sku), Cell::number(total.quantity)])
        .collect();
    let mut look = Table::new("Worth a look", &["what"]);
    look.rows = statement.flags.iter().map(|flag| vec![Cell::text(words::flag(flag))]).collect();
    let mut blockers = Table::new("In the way", &["what", "remedy"]);
    let told = statement.blockers.iter().map(words::blocker);
    blockers.rows = told.map(|advice| vec![Cell::text(advice.what), Cell::text(advice.remedy)]).collect();
    Document::new(
        format!("Statement {}", statement.period),
        [
            ("period", statement.period.to_string()),
            ("zone", statement.zone.name().to_owned()),
            ("distributor", distributor.to_owned()),
            ("state", standing),
        ],
        vec![lines, totals, look, blockers],
    )
}

fn statement_row(statement: &Statement, line: &Line, names: &Names) -> Vec<Cell> {
    let price = line.price.as_ref();
    vec![
        Cell::text(statement.period),
        Cell::text(&line.customer),
        name(names, &line.customer),
        Cell::text(&line.sku),
        Cell::text(count(line.count)),
        line.day.map_or(Cell::Empty, Cell::text),
        Cell::number(line.confirmed),
        Cell::number(line.presumed),
        Cell::number(line.measured),
        Cell::number(line.declared),
        Cell::number(line.adjusted),
        Cell::number(line.quantity),
        Cell::text(price.map_or("", |price| &price.distributor)),
        Cell::maybe(price.and_then(|price| price.unit_cost.as_ref())),
        Cell::maybe(price.map(|price| price.cost)),
        Cell::text(price.map_or("", |price| &price.currency)),
    ]
}

fn count(count: seatbeat_ledger::policy::Count) -> String {
    let value = serde_json::to_value(count).ok();
    value.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// What a month earns.
pub fn earnings(earnings: &Earnings, standing: String, names: &Names) -> Document {
    let mut lines = Table::new(
        "Lines",
        &[
            "customer",
            "customer_name",
            "sku",
            "distributor",
            "quantity",
            "unit_price",
            "revenue",
            "cost",
            "profit",
            "markup",
            "margin",
            "licence_profit",
            "difference",
            "currency",
        ],
    );
    lines.rows = earnings
        .lines
        .iter()
        .map(|line| {
            let row = &line.row;
            vec![
                Cell::text(&row.customer),
                name(names, &row.customer),
                Cell::text(&row.sku),
                Cell::text(&line.distributor),
                Cell::number(row.quantity),
                Cell::number(&row.unit_price),
                Cell::number(row.revenue),
                Cell::maybe(row.cost),
                Cell::maybe(row.profit),
                Cell::maybe(row.markup),
                Cell::maybe(row.margin),
                Cell::maybe(line.licence_profit),
                Cell::maybe(line.difference),
                Cell::text(row.currency.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    let mut unpriced = Table::new(
        "Without a price",
        &["customer", "customer_name", "sku", "distributor", "quantity", "cost", "currency"],
    );
    unpriced.rows = earnings
        .unpriced
        .iter()
        .map(|line| {
            vec![
                Cell::text(&line.customer),
                name(names, &line.customer),
                Cell::text(&line.sku),
                Cell::text(&line.distributor),
                Cell::number(line.quantity),
                Cell::maybe(line.cost),
                Cell::text(line.currency.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    Document::new(
        format!("Earnings {}", earnings.period),
        [
            ("period", earnings.period.to_string()),
            ("state", standing),
            (
                "compared with",
                format!("yearly licences at a margin of {}, paid up front", earnings.licence_margin),
            ),
            ("confidential", "sell prices and margins: not for distributors".to_owned()),
        ],
        vec![
            lines,
            totals("By customer", "customer", &earnings.customers),
            totals("By SKU", "sku", &earnings.skus),
            totals("By distributor", "distributor", &earnings.distributors),
            totals("By currency", "", &earnings.totals),
            unpriced,
        ],
    )
}

fn totals(table: &str, of: &str, totals: &[EarnedTotal]) -> Table {
    let named = [
        of,
        "currency",
        "revenue",
        "cost",
        "profit",
        "markup",
        "margin",
        "licence_profit",
        "difference",
        "unpriced_cost",
    ];
    let mut table = Table::new(table, if of.is_empty() { &named[1..] } else { &named });
    table.rows = totals
        .iter()
        .map(|total| {
            let mut row = if of.is_empty() { Vec::new() } else { vec![Cell::text(&total.of)] };
            row.extend([
                Cell::text(total.currency.as_deref().unwrap_or_default()),
                Cell::number(total.revenue),
                Cell::maybe(total.cost),
                Cell::maybe(total.profit),
                Cell::maybe(total.markup),
                Cell::maybe(total.margin),
                Cell::maybe(total.licence_profit),
                Cell::maybe(total.difference),
                Cell::maybe(total.unpriced_cost),
            ]);
            row
        })
        .collect();
    table
}

/// What was used.
pub fn usage(usage: Usage) -> Document {
    let mut rows = Table::new(
        "Usage",
        &[
            "customer",
            "customer_name",
            "sku",
            "quantity",
            "confirmed",
            "presumed",
            "unit_cost",
            "cost",
            "revenue",
            "profit",
            "currency",
        ],
    );
    rows.rows = usage
        .rows
        .into_iter()
        .map(|row| {
            vec![
                Cell::of(row.customer.as_str().to_owned()),
                Cell::of(row.customer_name),
                Cell::of(row.sku),
                Cell::Number(row.quantity),
                Cell::Number(row.confirmed),
                Cell::Number(row.presumed),
                row.unit_cost.map_or(Cell::Empty, Cell::Number),
                row.cost.map_or(Cell::Empty, Cell::Number),
                row.revenue.map_or(Cell::Empty, Cell::Number),
                row.profit.map_or(Cell::Empty, Cell::Number),
                Cell::of(row.currency.unwrap_or_default()),
            ]
        })
        .collect();
    let mut look = Table::new("Worth a look", &["what"]);
    look.rows = usage.flags.iter().map(|flag| vec![Cell::text(words::flag(flag))]).collect();
    let mut blockers = Table::new("In the way of the statement", &["what", "remedy"]);
    let told = usage.blockers.iter().map(words::blocker);
    blockers.rows = told.map(|advice| vec![Cell::text(advice.what), Cell::text(advice.remedy)]).collect();
    Document::new(
        format!("Usage {}", usage.period),
        [("period", usage.period.to_string()), ("zone", usage.zone.clone())],
        vec![rows, look, blockers],
    )
}

/// What customers are billed.
pub fn invoices(invoices: &Invoices, mapping: &Mapping, names: &Names) -> Document {
    let name_of = |line: &InvoiceLine| names.get(&line.customer).cloned().unwrap_or_default();
    let mut unbilled =
        Table::new("Not billed: no price", &["customer", "customer_name", "period", "sku", "quantity"]);
    unbilled.rows = invoices
        .unbilled
        .iter()
        .map(|one| {
            let (of, sku) = (Cell::text(one.period), Cell::text(&one.sku));
            vec![Cell::text(&one.customer), name(names, &one.customer), of, sku, Cell::number(one.quantity)]
        })
        .collect();
    Document::new(
        format!("Invoice lines {}", invoices.period),
        [
            ("period", invoices.period.to_string()),
            (
                "state",
                if invoices.is_sealed { "sealed" } else { "draft: quantities may still change" }.to_owned(),
            ),
        ],
        vec![mapping.table(invoices.period, &invoices.lines, &name_of), unbilled],
    )
}

/// What a running month will come to.
pub fn forecast(forecast: &Forecast, names: &Names) -> Document {
    let mut lines = Table::new(
        "Lines",
        &[
            "customer",
            "customer_name",
            "sku",
            "count",
            "lower",
            "expected",
            "upper",
            "cost",
            "revenue",
            "currency",
        ],
    );
    lines.rows = forecast
        .lines
        .iter()
        .map(|line| {
            vec![
                Cell::text(&line.customer),
                name(names, &line.customer),
                Cell::text(&line.sku),
                Cell::text(count(line.count)),
                Cell::number(line.lower),
                Cell::number(line.expected),
                Cell::number(line.upper),
                Cell::maybe(line.cost),
                Cell::maybe(line.revenue),
                Cell::text(line.currency.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    let mut totals = Table::new("Totals", &["currency", "bound", "cost", "revenue", "profit", "margin"]);
    for total in &forecast.totals {
        let bounds: [(&str, &Money); 3] =
            [("lower", &total.lower), ("expected", &total.expected), ("upper", &total.upper)];
        totals.rows.extend(bounds.map(|(bound, money)| {
            vec![
                Cell::text(total.currency.as_deref().unwrap_or_default()),
                Cell::text(bound),
                Cell::number(money.cost),
                Cell::number(money.revenue),
                Cell::number(money.profit),
                Cell::maybe(money.margin),
            ]
        }));
    }
    Document::new(
        format!("Forecast {}", forecast.period),
        [
            ("period", forecast.period.to_string()),
            ("as of", forecast.as_of.to_string()),
            ("rests on", forecast.rests_on.clone()),
        ],
        vec![lines, totals],
    )
}
