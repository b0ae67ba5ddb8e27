//! `seatbeat prices whatif`. Invariant: asking changes nothing.

use anyhow::Context as _;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::money::Decimal;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::whatif::{Answer, Side};
use seatbeat_proto::ids::CustomerId;
use seatbeat_proto::wire;

use crate::connect::Collector;
use crate::out::{self, Align, Column, Out};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of which SKU
    #[arg(long)]
    sku: Sku,
    /// To whom [default: seats to somebody new, a price to everybody]
    #[arg(long)]
    customer: Option<CustomerId>,
    /// So many seats more; negative: fewer
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    seats: i64,
    /// At this sell price
    #[arg(long)]
    price: Option<String>,
    /// With this tier of its price group, and the others named so
    #[arg(long, value_name = "FROM=COST", value_parser = tier)]
    tier: Vec<(u64, String)>,
    /// Which month's seats, as `2026-10` [default: the running one, up to now]
    #[arg(long)]
    period: Option<Period>,
}

fn tier(text: &str) -> Result<(u64, String), String> {
    let expected = || format!("`{text}` is not a tier: expected the first unit and its cost, as 25=1.80");
    let (from, cost) = text.split_once('=').ok_or_else(expected)?;
    Ok((from.parse().map_err(|_| expected())?, cost.to_owned()))
}

/// Runs the verb.
///
/// # Errors
/// When the collector refuses.
pub async fn run(args: Args, collector: &mut Collector, out: Out) -> anyhow::Result<()> {
    let request = wire::WhatIfRequest {
        period: args.period.map(String::from).unwrap_or_default(),
        sku: args.sku.to_string(),
        customer: args.customer.map(String::from).unwrap_or_default(),
        seats: args.seats,
        price: args.price.unwrap_or_default(),
        tiers: args.tier.into_iter().map(|(from, cost)| wire::PriceTierAsked { from, cost }).collect(),
        after_position: 0,
    };
    let reply = collector.call(async |console| console.what_if(request).await).await?;
    let answer: Answer = serde_json::from_str(&reply.json).context("the collector's answer is not valid")?;
    out.value(&answer, || page(&answer))?;
    Ok(())
}

fn page(answer: &Answer) -> String {
    let columns = [
        Column("", Align::Left),
        Column("NOW", Align::Right),
        Column("THEN", Align::Right),
        Column("CHANGE", Align::Right),
    ];
    let (now, then) = (&answer.now, &answer.then);
    let amount = |name: &str, now: Decimal, then: Decimal, change: Decimal| {
        vec![name.to_owned(), now.to_string(), then.to_string(), change.to_string()]
    };
    let row = |name: &str, now: String, then: String| vec![name.to_owned(), now, then, String::new()];
    let margin = |side: &Side| side.margin.map(|margin| margin.to_string()).unwrap_or_default();
    let rows = vec![
        row("quantity", now.quantity.to_string(), then.quantity.to_string()),
        row("tier from", now.tier.from.to_string(), then.tier.from.to_string()),
        row("unit cost", now.tier.unit_cost.to_string(), then.tier.unit_cost.to_string()),
        amount("cost", now.cost, then.cost, answer.cost_difference),
        amount("revenue", now.revenue, then.revenue, answer.revenue_difference),
        amount("profit", now.profit, then.profit, answer.profit_difference),
        row("margin", margin(now), margin(then)),
        row("without a price", now.unpriced.to_string(), then.unpriced.to_string()),
    ];
    let head = format!("SKU {}, price group {} ({})", answer.sku, answer.price_group, answer.currency);
    out::page([
        out::section(&out::clean(&head), &out::table(&columns, rows)),
        next("Now", now),
        next("Then", then),
    ])
}

fn next(head: &str, side: &Side) -> Option<String> {
    let next = side.next_tier.as_ref()?;
    out::section(
        &format!("{head}: the next tier"),
        &out::fields(&[
            ("from", next.from.to_string()),
            ("unit cost", next.unit_cost.to_string()),
            ("missing", next.missing.to_string()),
            ("saves a unit", next.saves_a_unit.to_string()),
            ("saves on all", next.saves.to_string()),
            ("extra cost", next.extra_cost.to_string()),
        ]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_a_first_unit_and_a_cost() {
        assert_eq!(tier("25=1.80"), Ok((25, "1.80".to_owned())));
        for text in ["25", "=1", "x=1", "-1=2"] {
            assert!(tier(text).is_err(), "{text}");
        }
    }
}
