//! A document as a workbook: a sheet a table, the facts on the first. Invariant: text is a string cell, never a
//! formula; a number that a spreadsheet would round is written as text; the same document gives the same bytes.

use jiff::Timestamp;
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, FormatAlign, Workbook, Worksheet, XlsxError};

use super::document::{Cell, Document, Table};

/// Significant digits that a spreadsheet keeps of a number.
const DIGITS_MAX: usize = 15;

/// Longest text of a cell in characters, by the format's own limit.
const TEXT_LENGTH_MAX: usize = 32_767;

/// Rows of a sheet, by the format's own limit, less the head.
const ROWS_MAX: usize = 1_048_575;

/// A document that no workbook can hold.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// Too many rows.
    #[error("`{table}` has {rows} rows, more than a sheet can have: ask for CSV")]
    TooManyRows {
        /// Which table.
        table: String,
        /// How many.
        rows: usize,
    },
    /// The writer refuses.
    #[error("failed to write the workbook")]
    Write(#[from] XlsxError),
}

/// The workbook.
///
/// # Errors
/// When a table does not fit on a sheet.
pub fn workbook(document: &Document) -> Result<Vec<u8>, SheetError> {
    // Without it the time of writing would be in the file.
    written(document, &ExcelDateTime::from_ymd(2000, 1, 1)?)
}

/// The workbook, made at this instant.
///
/// # Errors
/// When a table does not fit on a sheet.
pub fn workbook_of(document: &Document, made_at: Timestamp) -> Result<Vec<u8>, SheetError> {
    written(document, &ExcelDateTime::from_timestamp(made_at.as_second())?)
}

fn written(document: &Document, made_at: &ExcelDateTime) -> Result<Vec<u8>, SheetError> {
    let mut workbook = Workbook::new();
    workbook.set_properties(&DocProperties::new().set_title(&document.title).set_creation_datetime(made_at));
    let head = Format::new().set_bold();
    for (index, table) in document.tables.iter().enumerate() {
        if table.rows.len() > ROWS_MAX {
            return Err(SheetError::TooManyRows { table: table.name.clone(), rows: table.rows.len() });
        }
        let sheet = workbook.add_worksheet();
        sheet.set_name(sheet_name(&table.name, index))?;
        write(sheet, table, &head)?;
    }
    // Programs that read the tables alone are given nothing beside them.
    if !document.facts.is_empty() {
        let about = workbook.add_worksheet();
        about.set_name("About")?;
        about.write_string_with_format(0, 0, &document.title, &head)?;
        for (row, (name, fact)) in (1u32..).zip(&document.facts) {
            about.write_string(row, 0, name)?;
            about.write_string(row, 1, clipped(fact))?;
        }
        about.autofit();
    }
    Ok(workbook.save_to_buffer()?)
}

fn write(sheet: &mut Worksheet, table: &Table, head: &Format) -> Result<(), XlsxError> {
    let right = Format::new().set_align(FormatAlign::Right);
    for (column, name) in (0u16..).zip(&table.columns) {
        sheet.write_string_with_format(0, column, name, head)?;
    }
    for (row, cells) in (1u32..).zip(&table.rows) {
        for (column, cell) in (0u16..).zip(cells) {
            match cell {
                Cell::Empty => {}
                Cell::Text(text) => {
                    sheet.write_string(row, column, clipped(text))?;
                }
                Cell::Number(number) => match exact(number) {
                    Some((value, digits)) => {
                        let shown = Format::new().set_num_format(number_format(digits));
                        sheet.write_number_with_format(row, column, value, &shown)?;
                    }
                    None => {
                        sheet.write_string_with_format(row, column, number, &right)?;
                    }
                },
            }
        }
    }
    sheet.set_freeze_panes(1, 0)?;
    sheet.autofit();
    Ok(())
}

/// The number as a spreadsheet has it, with its digits after the point; `None` where it would be another.
fn exact(number: &str) -> Option<(f64, usize)> {
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let after = number.split_once('.').map_or(0, |(_, after)| after.len());
    if digits > DIGITS_MAX {
        return None;
    }
    Some((number.parse().ok()?, after))
}

fn number_format(digits: usize) -> String {
    if digits == 0 { "0".to_owned() } else { format!("0.{}", "0".repeat(digits)) }
}

/// A name that a sheet can have.
fn sheet_name(name: &str, index: usize) -> String {
    let plain = |c: char| if matches!(c, '[' | ']' | ':' | '*' | '?' | '/' | '\\' | '\'') { ' ' } else { c };
    let name: String = name.chars().map(plain).take(31).collect();
    if name.trim().is_empty() { format!("Table {}", index + 1) } else { name }
}

fn clipped(text: &str) -> &str {
    text.char_indices().nth(TEXT_LENGTH_MAX).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let mut table = Table::new("Lines", &["customer", "amount"]);
        table.rows.push(vec![Cell::text("=HYPERLINK(\"x\")"), Cell::number("23.10")]);
        table.rows.push(vec![Cell::text("<&>"), Cell::number("12345678901234567.89")]);
        Document::new("Statement".to_owned(), [("period", "2026-10".to_owned())], vec![table])
    }

    #[test]
    fn a_workbook_is_the_same_bytes_each_time_and_an_archive() {
        let bytes = workbook(&document()).unwrap();
        assert_eq!(bytes, workbook(&document()).unwrap());
        assert!(bytes.starts_with(b"PK\x03\x04"));
    }

    #[test]
    fn a_workbook_says_when_it_was_made_and_nothing_else_of_the_time() {
        let of = |second| workbook_of(&document(), Timestamp::from_second(second).unwrap()).unwrap();
        assert_eq!(of(1_793_000_000), of(1_793_000_000));
        assert_ne!(of(1_793_000_000), of(1_793_000_001));
    }

    #[test]
    fn a_number_that_a_spreadsheet_would_round_stays_text() {
        assert_eq!(exact("23.10"), Some((23.10, 2)));
        assert_eq!(exact("-4"), Some((-4.0, 0)));
        assert_eq!(exact("12345678901234567.89"), None);
        assert_eq!((number_format(0), number_format(3)), ("0".to_owned(), "0.000".to_owned()));
    }

    #[test]
    fn a_sheet_has_a_name_that_it_can_have() {
        assert_eq!(sheet_name("By customer", 0), "By customer");
        assert_eq!(sheet_name("a/b:c", 0), "a b c");
        assert_eq!(sheet_name("", 2), "Table 3");
        assert_eq!(sheet_name(&"x".repeat(50), 0).len(), 31);
    }
}
