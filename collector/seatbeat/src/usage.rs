//! `seatbeat usage`. Invariant: the numbers are the draft's own, month to date.

use seatbeat_collector::console::rows::{Usage, UsageRow};
use seatbeat_ledger::calendar::Period;
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire;

use crate::connect::Collector;
use crate::document::{self, Target};
use crate::out::{self, Align, Column, Out};
use crate::shown;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which month, as `2026-10` [default: the running one]
    #[arg(long)]
    period: Option<Period>,
    /// Of this customer only
    #[arg(long)]
    customer: Option<CustomerId>,
    #[command(flatten)]
    target: Target,
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses.
pub async fn run(args: Args, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    if args.target.format.is_some() {
        let request = wire::DocumentRequest {
            kind: "usage".to_owned(),
            period: args.period.map(String::from).unwrap_or_default(),
            customer: args.customer.map(String::from).unwrap_or_default(),
            ..Default::default()
        };
        return document::show(request, &args.target, collector, out).await;
    }
    let request = wire::UsageRequest {
        period: args.period.map(String::from).unwrap_or_default(),
        customer: args.customer.map(String::from).unwrap_or_default(),
        after_position: 0,
    };
    let usage: Usage = collector.ask(async |console| console.usage(request).await).await?;
    out.value(&usage, || page(&usage))?;
    Ok(())
}

fn page(usage: &Usage) -> String {
    let head = format!("Usage {} ({})", usage.period, usage.zone);
    let rows = match table(&usage.rows) {
        none if none.is_empty() => "nothing used".to_owned(),
        rows => rows,
    };
    out::page([
        out::section(&head, &rows),
        out::section("Worth a look", &shown::flags(&usage.flags)),
        out::section("In the way of the statement", &shown::blockers(&usage.blockers)),
    ])
}

fn table(rows: &[UsageRow]) -> String {
    let columns = [
        Column("CUSTOMER", Align::Left),
        Column("NAME", Align::Left),
        Column("SKU", Align::Left),
        Column("QUANTITY", Align::Right),
        Column("CONFIRMED", Align::Right),
        Column("PRESUMED", Align::Right),
        Column("UNIT COST", Align::Right),
        Column("COST", Align::Right),
        Column("REVENUE", Align::Right),
        Column("PROFIT", Align::Right),
        Column("CURRENCY", Align::Left),
    ];
    let row = |row: &UsageRow| {
        let known = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![
            row.customer.to_string(),
            row.customer_name.clone(),
            row.sku.clone(),
            row.quantity.clone(),
            row.confirmed.clone(),
            row.presumed.clone(),
            known(&row.unit_cost),
            known(&row.cost),
            known(&row.revenue),
            known(&row.profit),
            known(&row.currency),
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}
