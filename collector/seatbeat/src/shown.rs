//! Statements, earnings and what is in their way, as tables. Invariant: every number is printed as the ledger wrote
//! it; the only arithmetic is the ledger's own, in the totals.

use std::collections::BTreeMap;

use seatbeat_collector::console::words;
use seatbeat_ledger::money::{Decimal, Quantity};
use seatbeat_ledger::policy::Count;
use seatbeat_ledger::statement::{Blocker, Correction, EarningsRow, Flag, Line, Statement, Total};
use seatbeat_ledger::usage::Rejected;
use seatbeat_ledger::variance::VarianceRow;

use crate::out::{self, Align, Column};

/// A statement for people.
pub fn statement(statement: &Statement) -> String {
    let head = format!("Statement {} ({})", statement.period, statement.zone.name());
    let lines = match lines(&statement.lines) {
        none if none.is_empty() => "nothing to bill".to_owned(),
        lines => lines,
    };
    out::page([
        out::section(&head, &lines),
        out::section("Totals", &totals(&statement.totals)),
        out::section("Corrections", &corrections(&statement.corrections)),
        out::section("Rejected reports", &rejected(&statement.rejected)),
        out::section("Worth a look", &flags(&statement.flags)),
        out::section("In the way", &blockers(&statement.blockers)),
    ])
}

fn lines(lines: &[Line]) -> String {
    let columns = [
        Column("CUSTOMER", Align::Left),
        Column("SKU", Align::Left),
        Column("COUNT", Align::Left),
        Column("DAY", Align::Left),
        Column("CONFIRMED", Align::Right),
        Column("PRESUMED", Align::Right),
        Column("DECLARED", Align::Right),
        Column("ADJUSTED", Align::Right),
        Column("QUANTITY", Align::Right),
        Column("UNIT COST", Align::Right),
        Column("COST", Align::Right),
        Column("CURRENCY", Align::Left),
        Column("DISTRIBUTOR", Align::Left),
    ];
    let mut rows: Vec<Vec<String>> = lines.iter().map(line).collect();
    let costs =
        lines.iter().filter_map(|line| line.price.as_ref()).map(|price| (&price.currency, price.cost));
    for (currency, cost) in sums(costs) {
        let mut row = vec![String::new(); columns.len()];
        "total".clone_into(&mut row[0]);
        row[10] = cost.to_string();
        row[11] = currency;
        rows.push(row);
    }
    out::table(&columns, rows)
}

fn line(line: &Line) -> Vec<String> {
    let price = line.price.as_ref();
    vec![
        line.customer.to_string(),
        line.sku.to_string(),
        count(line.count).to_owned(),
        line.day.map(|day| day.to_string()).unwrap_or_default(),
        line.confirmed.to_string(),
        line.presumed.to_string(),
        line.declared.to_string(),
        line.adjusted.to_string(),
        line.quantity.to_string(),
        price.and_then(|price| price.unit_cost.as_ref()).map(ToString::to_string).unwrap_or_default(),
        price.map(|price| price.cost.to_string()).unwrap_or_default(),
        price.map(|price| price.currency.clone()).unwrap_or_default(),
        price.map(|price| price.distributor.clone()).unwrap_or_default(),
    ]
}

fn count(count: Count) -> &'static str {
    match count {
        Count::HighWater => "high water",
        Count::Distinct => "distinct",
        Count::MonthEnd => "month end",
        Count::Average => "average",
    }
}

/// What the reseller earns, for people; empty without prices.
pub fn earnings(earnings: &[EarningsRow]) -> String {
    let columns = [
        Column("CUSTOMER", Align::Left),
        Column("SKU", Align::Left),
        Column("QUANTITY", Align::Right),
        Column("UNIT PRICE", Align::Right),
        Column("REVENUE", Align::Right),
        Column("COST", Align::Right),
        Column("PROFIT", Align::Right),
        Column("MARKUP", Align::Right),
        Column("MARGIN", Align::Right),
        Column("CURRENCY", Align::Left),
    ];
    let known = |value: Option<Decimal>| value.map(|value| value.to_string()).unwrap_or_default();
    let row = |row: &EarningsRow| {
        vec![
            row.customer.to_string(),
            row.sku.to_string(),
            row.quantity.to_string(),
            row.unit_price.to_string(),
            row.revenue.to_string(),
            known(row.cost),
            known(row.profit),
            known(row.markup),
            known(row.margin),
            row.currency.clone().unwrap_or_default(),
        ]
    };
    let mut rows: Vec<Vec<String>> = earnings.iter().map(row).collect();
    let sum = |value: fn(&EarningsRow) -> Option<Decimal>| {
        sums(earnings.iter().filter_map(move |row| Some((row.currency.as_ref()?, value(row)?))))
    };
    let (revenues, costs) = (sum(|row| row.cost.map(|_| row.revenue)), sum(|row| row.cost));
    for (currency, profit) in sum(|row| row.profit) {
        let mut row = vec![String::new(); columns.len()];
        "total".clone_into(&mut row[0]);
        row[4] = known(revenues.get(&currency).copied());
        row[5] = known(costs.get(&currency).copied());
        row[6] = profit.to_string();
        row[9] = currency;
        rows.push(row);
    }
    let table = out::table(&columns, rows);
    out::section("Earnings (never leave the house)", &table).unwrap_or_default()
}

/// Sums by currency; one that is too large to be true is left out.
fn sums<'a>(amounts: impl Iterator<Item = (&'a String, Decimal)>) -> BTreeMap<String, Decimal> {
    let mut sums: BTreeMap<String, Option<Decimal>> = BTreeMap::new();
    for (currency, amount) in amounts {
        let sum = sums.entry(currency.clone()).or_insert_with(|| Some(Decimal::zero(amount.scale())));
        *sum = sum.and_then(|sum| sum.plus(amount).ok());
    }
    sums.into_iter().filter_map(|(currency, sum)| Some((currency, sum?))).collect()
}

fn totals(totals: &[Total]) -> String {
    let columns = [Column("SKU", Align::Left), Column("QUANTITY", Align::Right)];
    let row = |total: &Total| vec![total.sku.to_string(), total.quantity.to_string()];
    out::table(&columns, totals.iter().map(row).collect())
}

fn corrections(corrections: &[Correction]) -> String {
    let columns = [
        Column("FOR", Align::Left),
        Column("CUSTOMER", Align::Left),
        Column("SKU", Align::Left),
        Column("DELTA", Align::Right),
        Column("COST", Align::Right),
    ];
    let row = |row: &Correction| {
        vec![
            row.for_period.to_string(),
            row.customer.to_string(),
            row.sku.to_string(),
            row.delta.to_string(),
            row.cost.map(|cost| cost.to_string()).unwrap_or_default(),
        ]
    };
    out::table(&columns, corrections.iter().map(row).collect())
}

/// Why lines differ from the month before, its parts in words.
pub fn variance(rows: &[VarianceRow]) -> String {
    let columns = [
        Column("CUSTOMER", Align::Left),
        Column("SKU", Align::Left),
        Column("BEFORE", Align::Right),
        Column("AFTER", Align::Right),
        Column("WHY", Align::Left),
    ];
    let row = |row: &VarianceRow| {
        let parts = row.parts.iter().map(|(part, quantity)| {
            let sign = if *quantity > Quantity::ZERO { "+" } else { "" };
            format!("{sign}{quantity} {}", part.as_str())
        });
        let why = parts.collect::<Vec<_>>().join(", ");
        vec![
            row.customer.to_string(),
            row.sku.to_string(),
            row.before.to_string(),
            row.after.to_string(),
            why,
        ]
    };
    let table = match out::table(&columns, rows.iter().map(row).collect()) {
        none if none.is_empty() => "no line differs".to_owned(),
        table => table,
    };
    out::section("Since the month before", &table).unwrap_or_default()
}

fn rejected(rejected: &[Rejected]) -> String {
    let columns = [
        Column("MACHINE", Align::Left),
        Column("SPOOL", Align::Left),
        Column("SEQUENCE", Align::Right),
        Column("REASON", Align::Left),
    ];
    let row = |row: &Rejected| {
        let reason = serde_json::to_value(row.reason).ok();
        vec![
            row.machine.to_string(),
            row.spool.to_string(),
            row.sequence.to_string(),
            reason.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
        ]
    };
    out::table(&columns, rejected.iter().map(row).collect())
}

/// Flags in words, one a line.
pub fn flags(flags: &[Flag]) -> String {
    let lines: Vec<String> =
        flags.iter().map(|flag| format!("- {}", out::clean(&words::flag(flag)))).collect();
    lines.join("\n")
}

/// Blockers in words, one a line, each with what to do.
pub fn blockers(blockers: &[Blocker]) -> String {
    let line = |blocker: &Blocker| {
        let words::Advice { what, remedy } = words::blocker(blocker);
        format!("- {}: {}", out::clean(&what), out::clean(&remedy))
    };
    blockers.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use seatbeat_ledger::statement::MeterOutput;

    const OUTPUT: &str = r#"{
      "statement": {"period": "2026-10", "zone": "Europe/Berlin",
        "lines": [
          {"customer":"cus_acme","sku":"WF-SVC","count":"high_water","day":"2026-10-07","confirmed":"11","presumed":"1",
           "measured":"12","declared":"0","adjusted":"-1","quantity":"11",
           "distributor":"ingram","unit_cost":"2.10","cost":"23.10","currency":"USD"}],
        "corrections": [], "totals": [{"sku":"WF-SVC","quantity":"11"}], "flags": [],
        "blockers": [{"blocker":"unmapped_product","customer":"cus_acme","product":"spnt"}], "rejected": []},
      "earnings": [
        {"customer":"cus_acme","sku":"WF-SVC","quantity":"11","unit_price":"3.75","revenue":"41.25","cost":"23.10",
         "profit":"18.15","markup":"0.7857","margin":"0.4400","currency":"USD"}]}"#;

    fn output() -> MeterOutput {
        serde_json::from_str(OUTPUT).unwrap()
    }

    #[test]
    fn a_statement_is_shown_with_its_totals_and_what_is_in_the_way() {
        let shown = statement(&output().statement);
        for expected in [
            "Statement 2026-10 (Europe/Berlin)\nCUSTOMER  SKU     COUNT       DAY         CONFIRMED",
            "cus_acme  WF-SVC  high water  2026-10-07         11",
            "\n\nTotals\nSKU     QUANTITY\nWF-SVC        11",
            "\n\nIn the way\n- customer cus_acme uses product spnt, which has no SKU: `seatbeat customers map",
        ] {
            assert!(shown.contains(expected), "{expected:?} in\n{shown}");
        }
    }

    #[test]
    fn earnings_end_in_the_totals_of_each_currency() {
        let shown = earnings(&output().earnings);
        let last: Vec<&str> = shown.lines().next_back().unwrap().split_whitespace().collect();
        assert_eq!(last, ["total", "41.25", "23.10", "18.15", "USD"]);
        assert_eq!(earnings(&[]), "");
    }

    #[test]
    fn a_difference_is_told_with_its_parts() {
        let json = r#"[{"customer":"cus_acme","sku":"A","before":"3","after":"2",
            "parts":{"new":"1","switched_off":"-2"}}]"#;
        let shown = variance(&serde_json::from_str::<Vec<VarianceRow>>(json).unwrap());
        let last: Vec<&str> = shown.lines().next_back().unwrap().split_whitespace().collect();
        assert_eq!(last, ["cus_acme", "A", "3", "2", "+1", "new,", "-2", "switched", "off"]);
        assert_eq!(variance(&[]), "Since the month before\nno line differs");
    }

    #[test]
    fn an_empty_statement_says_so() {
        let empty =
            Statement { lines: Vec::new(), totals: Vec::new(), blockers: Vec::new(), ..output().statement };
        assert_eq!(statement(&empty), "Statement 2026-10 (Europe/Berlin)\nnothing to bill");
    }
}
