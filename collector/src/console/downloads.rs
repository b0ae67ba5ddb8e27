//! What can be downloaded as a table: its parameters, its columns, who may. Invariant: pure; the routes, the formats
//! and their description are made from these tables alone, so that none of them can say another thing.

use seatbeat_ledger::operators::Right;
use seatbeat_proto::ids::{CustomerId, MachineId};

use super::rights::{Needs, Whose};
use crate::outputs::Format;

pub mod asked;
mod rows;
pub mod tables;

pub use asked::Asked;
pub use rows::Page;
pub use tables::{ORDER_STATES, TABLES};

/// Rows of a page that is asked for: a thousand machines with their products are about a megabyte.
pub const LIMIT_MAX: usize = 1000;

/// The greatest position that every program that reads JSON can name.
pub const POSITION_MAX: u64 = (1 << 53) - 1;

/// Characters of a text to search for: the longest host name.
pub const SEARCH_LENGTH_MAX: usize = 255;

/// Bytes of a cursor: the longest key that something is sorted by, and an id.
pub const CURSOR_LENGTH_MAX: usize = 400;

/// What a cell of a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// An id, by what it begins with.
    Id(&'static str),
    /// A month as `2026-10`.
    Month,
    /// A day as `2026-10-31`.
    Day,
    /// An instant (RFC 3339, UTC).
    Instant,
    /// Yes or no.
    Flag,
    /// A quantity.
    Number,
    /// An amount of money: a decimal that no program is to round.
    Money,
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its head.
    pub name: &'static str,
    /// What its cells hold.
    pub kind: Kind,
    /// Whether a cell may be empty.
    pub may_be_empty: bool,
    /// What it says.
    pub about: &'static str,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A customer's id.
    Customer,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A product's id.
    Product,
    /// A name of somebody, a version: some printable characters without a space.
    Name,
    /// Some text that a name contains.
    Text,
    /// A day as `2026-10-31`.
    Day,
    /// `true` or `false`.
    Flag,
    /// How many rows at most.
    Limit,
    /// Where a page begins, as the page before says it.
    Cursor,
    /// A position of the journal.
    Position,
}

/// A parameter of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// As faults name it.
    pub quoted: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What it does.
    pub about: &'static str,
}

/// Where the rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Customers.
    Customers,
    /// Machines.
    Machines,
    /// What was used in a month.
    Usage,
    /// Statements and where they stand.
    Statements,
    /// The lines of a month's statements.
    StatementLines,
    /// Orders to machines.
    Orders,
    /// What was done.
    Audit,
}

/// Where a download is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One path for each format.
    Paths([(&'static str, Format); 3]),
    /// A folder with a file for each month and format, as axum matches it.
    Months(&'static str),
}

/// A table that can be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download {
    /// Its name: of the file, too.
    pub name: &'static str,
    /// What it holds.
    pub about: &'static str,
    /// Where it is found.
    pub place: Place,
    /// What who asks has to have.
    pub needs: Needs,
    /// Where its rows come from.
    pub source: Source,
    /// What narrows it.
    pub parameters: &'static [Parameter],
    /// What its rows hold.
    pub columns: &'static [Column],
}

/// The formats of every download.
pub const FORMATS: [Format; 3] = [Format::Csv, Format::Json, Format::Xlsx];

impl Download {
    /// The parameter that says where a page begins, if the table comes in pages.
    pub fn cursor(&self) -> Option<&'static Parameter> {
        self.parameters.iter().find(|one| matches!(one.takes, Takes::Cursor | Takes::Position))
    }
}

const fn always(name: &'static str, kind: Kind, about: &'static str) -> Column {
    Column { name, kind, may_be_empty: false, about }
}

const fn maybe(name: &'static str, kind: Kind, about: &'static str) -> Column {
    Column { name, kind, may_be_empty: true, about }
}

const CUSTOMER: Kind = Kind::Id(CustomerId::PREFIX);
const MACHINE: Kind = Kind::Id(MachineId::PREFIX);

const SEES: Needs = Needs::Right(Right::See, Whose::Customers);
const SEES_THE_HOUSE: Needs = Needs::Right(Right::See, Whose::House);
const ADMINISTERS: Needs = Needs::Right(Right::Administer, Whose::House);
const BILLS: Needs = Needs::Right(Right::Bill, Whose::House);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_there_once_and_fit_what_carries_them() {
        let names: BTreeSet<_> = TABLES.iter().map(|table| table.name).collect();
        assert_eq!(names.len(), TABLES.len());
        for table in TABLES {
            let columns: BTreeSet<_> = table.columns.iter().map(|column| column.name).collect();
            assert_eq!(columns.len(), table.columns.len(), "{}", table.name);
            let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            for parameter in table.parameters {
                assert!(plain(parameter.name), "{}", parameter.name);
                assert_eq!(parameter.quoted, format!("`{}`", parameter.name));
            }
            assert!(columns.iter().all(|name| plain(name)) && plain(&table.name.replace('-', "_")));
            let has_limit = table.parameters.iter().any(|one| one.takes == Takes::Limit);
            assert_eq!(has_limit, table.cursor().is_some(), "{}: a page has a length", table.name);
        }
    }
}
