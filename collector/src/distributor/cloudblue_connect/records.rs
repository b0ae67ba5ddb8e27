//! The workbook of a usage file: a record a line, and one for each correction up. Invariant: a function of the sealed
//! statement and the mapping; a record's id is the same whenever it is written; no quantity is negative and none was
//! changed.
//!
//! Columns and their order: the platform's usage template, schema QT (quantities, no amounts). A record's times are the
//! first and last second of the calendar month that it is of, as UTC: a billing zone's own first instant would put the
//! record into the month before wherever the zone is east of UTC, and the platform bills by these columns.

use jiff::civil::Date;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::mapping::Fields;
use seatbeat_ledger::money::Quantity;
use seatbeat_ledger::record::Sku;
use seatbeat_ledger::sealed::digest;
use seatbeat_proto::ids::CustomerId;

use super::super::drop_files::{comment, correction_comment};
use super::super::projection::{OutPart, Outgoing, ProjectionError};
use super::{ASSET, ITEM, ITEM_CRITERIA};
use crate::outputs::document::{Cell, Document, Table};
use crate::outputs::sheets;

/// Head of the sheet `records`, in the platform's order.
pub const RECORD_COLUMNS: [&str; 16] = [
    "record_id",
    "record_note",
    "item_search_criteria",
    "item_search_value",
    "quantity",
    "start_time_utc",
    "end_time_utc",
    "asset_search_criteria",
    "asset_search_value",
    "category_id",
    "amount",
    "tier",
    "item_name",
    "item_unit",
    "item_mpn",
    "item_precision",
];

/// Head of the sheet `categories`. It has no rows: records need none.
const CATEGORY_COLUMNS: [&str; 3] = ["category_id", "category_name", "category_description"];

/// By what an item is looked up there.
const ITEM_CRITERIAS: [&str; 2] = ["item.mpn", "item.local_id"];

/// What is billed of what for which month.
struct Usage<'a> {
    customer: &'a CustomerId,
    sku: &'a Sku,
    period: Period,
    quantity: Quantity,
    note: String,
}

/// The workbook, and the corrections that it cannot say.
///
/// # Errors
/// When a line is not mapped, or by something that the platform does not look up by.
pub fn workbook(
    outgoing: &Outgoing<'_>,
    asset_parameter: Option<&str>,
) -> Result<(Vec<u8>, Vec<OutPart>), ProjectionError> {
    let statement = &outgoing.body.statement;
    let (down, up): (Vec<_>, Vec<_>) =
        statement.corrections.iter().partition(|one| one.delta < Quantity::ZERO);
    let of_lines = statement.lines.iter().map(|line| Usage {
        customer: &line.customer,
        sku: &line.sku,
        period: statement.period,
        quantity: line.quantity,
        note: comment(line),
    });
    let of_corrections = up.into_iter().map(|one| Usage {
        customer: &one.customer,
        sku: &one.sku,
        period: one.for_period,
        quantity: one.delta,
        note: correction_comment(outgoing, one),
    });
    let mut records = Table::new("records", &RECORD_COLUMNS);
    for usage in of_lines.chain(of_corrections) {
        records.rows.push(record(outgoing, &usage, asset_parameter)?);
    }
    let tables = vec![records, Table::new("categories", &CATEGORY_COLUMNS)];
    let document = Document::new(format!("Usage {}", statement.period), [], tables);
    let bytes = sheets::workbook_of(&document, outgoing.sealed_at)
        .map_err(|error| ProjectionError::Other(error.to_string()))?;
    Ok((bytes, down.into_iter().map(OutPart::by_hand).collect()))
}

/// An item's name, unit and precision are those of the platform's catalogue: what would make one is left empty.
fn record(
    outgoing: &Outgoing<'_>,
    usage: &Usage<'_>,
    asset_parameter: Option<&str>,
) -> Result<Vec<Cell>, ProjectionError> {
    let mapped = outgoing.mapped(usage.customer, usage.sku, &[ITEM, ASSET])?;
    let (start, end) = times(usage.period);
    let asset_criteria =
        asset_parameter.map_or_else(|| "asset.id".to_owned(), |name| format!("parameter.{name}"));
    let mut cells = vec![
        Cell::text(record_id(outgoing, usage)),
        Cell::text(&usage.note),
        Cell::text(item_criteria(usage, mapped)?),
        Cell::text(&mapped[ITEM]),
        Cell::number(usage.quantity),
        Cell::text(start),
        Cell::text(end),
        Cell::text(asset_criteria),
        Cell::text(&mapped[ASSET]),
    ];
    cells.resize(RECORD_COLUMNS.len(), Cell::Empty);
    Ok(cells)
}

fn item_criteria<'a>(usage: &Usage<'_>, mapped: &'a Fields) -> Result<&'a str, ProjectionError> {
    let criteria = mapped.get(ITEM_CRITERIA).map_or(ITEM_CRITERIAS[0], String::as_str);
    if ITEM_CRITERIAS.contains(&criteria) {
        return Ok(criteria);
    }
    Err(ProjectionError::Other(format!(
        "customer `{}`, SKU `{}`: `{ITEM_CRITERIA}` is `{criteria}`, and has to be one of {}",
        usage.customer,
        usage.sku,
        ITEM_CRITERIAS.join(", ")
    )))
}

/// The same for the same line of the same statement, in the shape of a UUID (version 8: made of a digest).
fn record_id(outgoing: &Outgoing<'_>, usage: &Usage<'_>) -> String {
    let Usage { customer, sku, period, .. } = usage;
    let digest = digest(format!("{}/{customer}/{sku}/{period}", outgoing.key(1)).as_bytes());
    let hex = digest.trim_start_matches("sha256:");
    format!("{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

/// The first and the last second of a month, as the platform writes times.
fn times(period: Period) -> (String, String) {
    let (first, last) = dates(period);
    (format!("{first} 00:00:00"), format!("{last} 23:59:59"))
}

/// The first and the last date of a month.
pub fn dates(period: Period) -> (Date, Date) {
    (period.first_day().date(), period.next().first_day().plus(-1).date())
}
