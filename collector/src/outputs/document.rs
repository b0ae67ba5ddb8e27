//! A document: facts, then tables of cells. Invariant: a number is the exact decimal that was computed, as text; what
//! shows it decides how, never what.

use std::fmt::Display;

use seatbeat_ledger::cells::guarded;
use serde::{Deserialize, Serialize};

/// A document in no format yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// What it is.
    pub title: String,
    /// Facts about all of it, by name.
    pub facts: Vec<(String, String)>,
    /// The main table, then others.
    pub tables: Vec<Table>,
}

/// A table of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// What it shows: a heading, or the name of a sheet.
    pub name: String,
    /// Its heads.
    pub columns: Vec<String>,
    /// Its rows, each with a cell a column.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// Text, from wherever.
    Text(String),
    /// A plain decimal.
    Number(String),
    /// Nothing.
    Empty,
}

impl Document {
    /// A document of these facts and tables.
    pub fn new<const N: usize>(title: String, facts: [(&str, String); N], tables: Vec<Table>) -> Self {
        Self { title, facts: facts.map(|(name, fact)| (name.to_owned(), fact)).into(), tables }
    }
}

impl Cell {
    /// Text; nothing when it is empty.
    pub fn text(text: impl Display) -> Self {
        Self::of(text.to_string())
    }

    /// A text that nobody else needs.
    pub fn of(text: String) -> Self {
        if text.is_empty() { Self::Empty } else { Self::Text(text) }
    }

    /// A number.
    pub fn number(number: impl Display) -> Self {
        Self::Number(number.to_string())
    }

    /// A number where there is one.
    pub fn maybe(number: Option<impl Display>) -> Self {
        number.map_or(Self::Empty, Self::number)
    }

    /// The cell as a person reads it.
    pub fn shown(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) => text,
            Self::Empty => "",
        }
    }
}

impl Table {
    /// A table of these columns without rows.
    pub fn new(name: &str, columns: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// The table as CSV: RFC 4180, UTF-8, a head, text guarded against spreadsheets.
    ///
    /// # Panics
    /// When a row has another number of cells than there are columns.
    pub fn to_csv(&self) -> Vec<u8> {
        let mut writer = writer();
        writer.write_record(&self.columns).expect("memory can be written");
        write_rows(writer, &self.rows)
    }
}

fn writer() -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new())
}

fn write_rows(mut writer: csv::Writer<Vec<u8>>, rows: &[Vec<Cell>]) -> Vec<u8> {
    for row in rows {
        let cells = row.iter().map(|cell| match cell {
            Cell::Text(text) => guarded(text).into_owned(),
            other => other.shown().to_owned(),
        });
        writer.write_record(cells).expect("a row has a cell for each column");
    }
    writer.into_inner().expect("memory can be written")
}

/// More rows of a table as CSV, behind its head.
///
/// # Panics
/// When a row has another number of cells than the one before.
pub fn csv_rows(rows: &[Vec<Cell>]) -> Vec<u8> {
    write_rows(writer(), rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_guarded_quoted_and_kept_and_numbers_stay_numbers() {
        let mut table = Table::new("t", &["*name", "amount"]);
        let names = ["=1+1", "+49", "-x", "@a", "a,\"b\"\nc", "Müller"];
        table.rows = names.map(|name| vec![Cell::text(name), Cell::number("-2.50")]).into();
        table.rows.push(vec![Cell::text(""), Cell::maybe(None::<String>)]);
        assert_eq!(
            String::from_utf8(table.to_csv()).unwrap(),
            "*name,amount\r\n'=1+1,-2.50\r\n'+49,-2.50\r\n'-x,-2.50\r\n'@a,-2.50\r\n\"a,\"\"b\"\"\nc\",-2.50\r\n\
             Müller,-2.50\r\n,\r\n"
        );
    }
}
