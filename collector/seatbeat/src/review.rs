//! What there is to look at beside a draft, in words. Invariant: a list that is cut says how many it leaves out, and
//! how to see them.

use seatbeat_collector::console::words;
use seatbeat_collector::outputs::review::{held, instead};
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::coverage::Silent;
use seatbeat_ledger::review::{BackDatedRow, InTheWay, LicenceState, Listed, Review, Switch};
use seatbeat_ledger::unbilled::Unbilled;

use crate::moment;
use crate::out::{self, Align, Column};

/// Rows of a list on a terminal: it and the statement fit on a few screens.
const ROWS_SHOWN: usize = 20;

/// All of a review but what is in the way.
pub fn page(review: &Review, period: Period) -> String {
    let all = format!("`seatbeat statement explain {period}` shows all");
    let rest = "--json shows 200";
    let coverage = format!(
        "{} of {} machines were heard from on the last {} days",
        review.coverage.heard, review.coverage.expected, review.coverage.days
    );
    out::page([
        out::section("Not billed", &cut(&review.unbilled, &all, unbilled)),
        out::section("Heard from", &coverage),
        out::section("Silent machines", &cut(&review.silent, rest, silent)),
        out::section("Dated back by more than a day", &cut(&review.back_dated, rest, back_dated)),
        out::section("Licences", &licences(&review.licences)),
    ])
}

/// What stands in the way, one a line, each with what to do.
pub fn in_the_way(blockers: &[InTheWay]) -> String {
    let line = |one: &InTheWay| {
        let words::Advice { what, remedy } = words::in_the_way(one);
        format!("- {}: {}", out::clean(&what), out::clean(&remedy))
    };
    blockers.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn cut<T>(list: &Listed<T>, how: &str, table: impl Fn(&[T]) -> String) -> String {
    let shown = &list.rows[..list.rows.len().min(ROWS_SHOWN)];
    match list.total.saturating_sub(shown.len() as u64) {
        0 => table(shown),
        more => format!("{}\nand {more} more: {how}", table(shown)),
    }
}

/// Days that count for no line, one reason a line.
pub fn unbilled(rows: &[Unbilled]) -> String {
    let columns = [
        Column("MACHINE", Align::Left),
        Column("CUSTOMER", Align::Left),
        Column("OF", Align::Left),
        Column("WHY", Align::Left),
        Column("INSTEAD", Align::Left),
        Column("DAYS", Align::Left),
    ];
    let row = |row: &Unbilled| {
        let sku = row.sku.as_ref().map(ToString::to_string);
        let product = || row.product.as_ref().map(ToString::to_string);
        vec![
            row.machine.to_string(),
            row.customer.as_ref().map(ToString::to_string).unwrap_or_default(),
            sku.or_else(product).unwrap_or_default(),
            row.reason.as_str().to_owned(),
            instead(row),
            words::days(&row.days),
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}

fn silent(rows: &[Silent]) -> String {
    let columns =
        [Column("MACHINE", Align::Left), Column("CUSTOMER", Align::Left), Column("HEARD LAST", Align::Left)];
    let row = |row: &Silent| {
        let heard = row.heard_at.map_or("never".to_owned(), moment::shown);
        vec![row.machine.to_string(), row.customer.to_string(), heard]
    };
    out::table(&columns, rows.iter().map(row).collect())
}

fn back_dated(rows: &[BackDatedRow]) -> String {
    let columns = [
        Column("RECORD", Align::Right),
        Column("TAKES EFFECT", Align::Left),
        Column("RECORDED", Align::Left),
        Column("OPERATOR", Align::Left),
        Column("REASON", Align::Left),
        Column("WHAT", Align::Left),
    ];
    let row = |row: &BackDatedRow| {
        vec![
            row.position.to_string(),
            moment::shown(row.at),
            moment::shown(row.recorded_at),
            row.operator.clone(),
            row.reason.clone(),
            row.record.to_string(),
        ]
    };
    out::table(&columns, rows.iter().map(row).collect())
}

/// Since when licences are on or suspended.
pub fn licences(rows: &[LicenceState]) -> String {
    let columns = [
        Column("CUSTOMER", Align::Left),
        Column("SKU", Align::Left),
        Column("LICENCE", Align::Left),
        Column("SINCE", Align::Left),
        Column("HELD", Align::Left),
    ];
    let row = |row: &LicenceState| {
        let licence = match row.licence {
            Switch::On => "on",
            Switch::Suspended => "suspended",
        };
        let (since, held) = (moment::shown(row.since), held(&row.held));
        vec![row.customer.to_string(), row.sku.to_string(), licence.to_owned(), since, held]
    };
    out::table(&columns, rows.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_cut_says_how_to_see_the_rest() {
        let row = r#"{"machine":"mch_a","reason":"min_days","customer":"cus_a","sku":"A","days":[1,2]}"#;
        let rows = vec![serde_json::from_str::<Unbilled>(row).unwrap(); ROWS_SHOWN + 2];
        let shown = cut(&Listed { total: 99, rows }, "ask", unbilled);
        assert!(shown.ends_with("\nand 79 more: ask"), "{shown}");
        assert!(shown.contains("mch_a    cus_a     A   seen on fewer days than the SKU asks for"), "{shown}");
        assert_eq!(cut(&Listed { total: 0, rows: Vec::new() }, "ask", unbilled), "");
    }
}
