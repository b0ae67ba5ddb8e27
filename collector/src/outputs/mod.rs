//! What goes out of the console as a file: the same document as CSV, workbook or page. Invariant: pure; every format
//! shows the same cells, amounts stand as they were computed, and no text is taken for a formula, a tag or a command.

pub mod document;
pub mod mapping;
pub mod page;
pub mod review;
pub mod sheets;
pub mod tables;

use std::str::FromStr;

use serde::Serialize;

use document::Document;

/// In which form something goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As data.
    Json,
    /// The main table, for other programs.
    Csv,
    /// A workbook.
    Xlsx,
    /// A page to print.
    Html,
    /// The document itself as data, for the command line to show.
    Document,
}

impl Format {
    /// The ending of a file in this format.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
            Self::Html => "html",
            Self::Document => "document",
        }
    }
}

/// A name of no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of json, csv, xlsx, html")]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let known = [Self::Json, Self::Csv, Self::Xlsx, Self::Html, Self::Document];
        let found = known.into_iter().find(|format| format.ending() == text);
        found.ok_or_else(|| FormatError(text.chars().take(20).collect()))
    }
}

/// Something in a format: `data` as JSON, else its document.
///
/// # Errors
/// When no workbook can hold it.
pub fn rendered(
    format: Format,
    data: &impl Serialize,
    document: &Document,
) -> Result<Vec<u8>, sheets::SheetError> {
    let json = |value: serde_json::Result<Vec<u8>>| value.expect("rows have text keys and plain values");
    Ok(match format {
        Format::Json => json(serde_json::to_vec_pretty(data)),
        Format::Document => json(serde_json::to_vec(document)),
        Format::Csv => document.tables.first().map(document::Table::to_csv).unwrap_or_default(),
        Format::Xlsx => sheets::workbook(document)?,
        Format::Html => page::page(document),
    })
}
