//! What there is to look at beside a draft, as tables. Invariant: a list that was cut says how many it leaves out.

use seatbeat_ledger::entitlements::HeldSeats;
use seatbeat_ledger::review::{InTheWay, LicenceState, Listed, Review, Switch};
use seatbeat_ledger::unbilled::Unbilled;

use super::document::{Cell, Table};
use crate::console::words;

/// The tables of a draft's review: what is in the way beside its statement, not billed, silent, dated back.
pub fn tables(review: &Review) -> Vec<Table> {
    vec![beside(review), unbilled(&review.unbilled), silent(review), back_dated(review)]
}

/// What is in the way beside the statement's own blockers, which are shown with it.
fn beside(review: &Review) -> Table {
    let mut table = Table::new("Also in the way", &["what", "remedy"]);
    let beside = review.blockers.iter().filter(|one| !matches!(one, InTheWay::Statement(_)));
    table.rows = beside
        .map(words::in_the_way)
        .map(|advice| vec![Cell::text(advice.what), Cell::text(advice.remedy)])
        .collect();
    table
}

fn unbilled(list: &Listed<Unbilled>) -> Table {
    let columns = ["machine", "customer", "sku", "product", "why", "instead", "days"];
    let row = |row: &Unbilled| {
        vec![
            Cell::text(&row.machine),
            row.customer.as_ref().map_or(Cell::Empty, Cell::text),
            row.sku.as_ref().map_or(Cell::Empty, Cell::text),
            row.product.as_ref().map_or(Cell::Empty, Cell::text),
            Cell::text(row.reason.as_str()),
            Cell::text(instead(row)),
            Cell::text(words::days(&row.days)),
        ]
    };
    listed("Not billed", &columns, list, row)
}

/// Who bears the days, or with what they are counted.
pub fn instead(row: &Unbilled) -> String {
    let bearer = row.borne_by.as_ref().map(ToString::to_string);
    bearer.or_else(|| row.counted_with.as_ref().map(ToString::to_string)).unwrap_or_default()
}

fn silent(review: &Review) -> Table {
    listed("Silent machines", &["machine", "customer", "heard_at"], &review.silent, |row| {
        let heard = row.heard_at.map_or(Cell::text("never"), Cell::text);
        vec![Cell::text(&row.machine), Cell::text(&row.customer), heard]
    })
}

fn back_dated(review: &Review) -> Table {
    let columns = ["record", "takes_effect", "recorded", "operator", "reason", "what"];
    listed("Dated back", &columns, &review.back_dated, |row| {
        vec![
            Cell::number(row.position),
            Cell::text(row.at),
            Cell::text(row.recorded_at),
            Cell::text(&row.operator),
            Cell::text(&row.reason),
            Cell::text(&row.record),
        ]
    })
}

/// Since when the licences of lines are on or suspended.
pub fn licences(licences: &[LicenceState]) -> Table {
    let mut table = Table::new("Licences", &["customer", "sku", "licence", "since", "held"]);
    let row = |one: &LicenceState| {
        let licence = match one.licence {
            Switch::On => "on",
            Switch::Suspended => "suspended",
        };
        vec![
            Cell::text(&one.customer),
            Cell::text(&one.sku),
            Cell::text(licence),
            Cell::text(one.since),
            Cell::text(held(&one.held)),
        ]
    };
    table.rows = licences.iter().map(row).collect();
    table
}

/// Seats of licences, in words.
pub fn held(seats: &[HeldSeats]) -> String {
    let words = |one: &HeldSeats| match one.code.as_str() {
        "" => format!("{} of {}", one.seats, one.licence),
        code => format!("{} of {code}", one.seats),
    };
    seats.iter().map(words).collect::<Vec<_>>().join(", ")
}

fn listed<T>(name: &str, columns: &[&str], list: &Listed<T>, row: impl Fn(&T) -> Vec<Cell>) -> Table {
    let mut table = Table::new(name, columns);
    table.rows = list.rows.iter().map(row).collect();
    let left_out = list.total.saturating_sub(list.rows.len() as u64);
    if left_out > 0 {
        let mut more = vec![Cell::Empty; columns.len()];
        more[0] = Cell::text(format!("and {left_out} more"));
        table.rows.push(more);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_was_cut_says_how_many_it_leaves_out() {
        let row = r#"{"machine":"mch_a","reason":"moved","customer":"cus_a","sku":"A","borne_by":"cus_b","days":[1,2,3,7]}"#;
        let list = Listed { total: 9, rows: vec![serde_json::from_str::<Unbilled>(row).unwrap()] };
        let table = unbilled(&list);
        let shown: Vec<Vec<&str>> =
            table.rows.iter().map(|row| row.iter().map(Cell::shown).collect()).collect();
        let first = ["mch_a", "cus_a", "A", "", "counted for another owner of the month", "cus_b", "1-3 7"];
        assert_eq!(shown, [first.to_vec(), vec!["and 8 more", "", "", "", "", "", ""]]);
    }
}
