//! The bundle: a sealed statement with the evidence of each machine behind it, as JSON Lines. Invariant: each row is
//! a leaf of a tree whose root the signed body names, byte for byte as it stands in the file; rows name machines by
//! commitments that can be opened one line, or one machine, at a time.
//!
//! Lines, in order: [`Opening`], [`LogPart`], for each line of the body that machines stand behind a [`Section`] and
//! its [`SeatRow`]s, a section of [`ExcludedRow`]s, perhaps [`Opened`] lines, and [`End`].

use seatbeat_proto::ids::{CustomerId, ResellerId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::Sku;

pub mod gather;
pub mod marks;
pub mod place;
pub mod pseudonym;
pub mod rows;
pub mod sealed_record;
pub mod write;

use marks::HashText;

/// What stands in the first line's `seatbeat` field.
pub const KIND: &str = "bundle/1";

/// The evidence that a sealed body commits to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// Machines that were seen and are in no line, or not with all their days.
    pub excluded: Rows,
    /// The lines with machines behind them, sorted.
    pub lines: Vec<LineRows>,
    /// Whose log the journal is.
    pub reseller: ResellerId,
    /// The key that signs its checkpoints (Ed25519, base64).
    pub service_key: HashText,
}

/// Rows of a section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// How many.
    pub machines: u64,
    /// Root of the RFC 6962 tree whose leaves are the rows as they stand in a bundle, in the order of their
    /// pseudonyms.
    pub root: HashText,
}

/// The rows of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineRows {
    /// Whose seats.
    pub customer: CustomerId,
    /// How many machines.
    pub machines: u64,
    /// As [`Rows::root`].
    pub root: HashText,
    /// Of what.
    pub sku: Sku,
}

/// The first line: the sealed statement as it is a file of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// [`KIND`].
    pub seatbeat: String,
    /// [`crate::sealed::file`].
    pub statement: Value,
}

/// The second line: where the statement stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPart {
    /// What the log says.
    pub log: LogProofs,
}

/// What ties a statement to its reseller's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogProofs {
    /// That earlier sizes of the log are its beginning: the statement's cut, and checkpoints that left the house.
    pub consistency: Vec<Consistency>,
    /// That the record which sealed the statement is in the log (C2SP `tlog-proof`).
    pub inclusion: String,
    /// The bytes of that record around the statement's body.
    pub record: sealed_record::Around,
}

/// That the log at a size is the beginning of the checkpoint's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// RFC 6962, 2.1.2.
    pub hashes: Vec<HashText>,
    /// So many records.
    pub size: u64,
}

/// Begins the rows of a line, or of what is in none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Section {
    /// Rows of this line.
    Line {
        /// Whose seats.
        customer: CustomerId,
        /// Of what.
        sku: Sku,
    },
    /// Rows of machines, or days of machines, that are in no line.
    Excluded {},
}

impl Section {
    /// A line's.
    pub fn line(customer: &CustomerId, sku: &Sku) -> Self {
        Self::Line { customer: customer.clone(), sku: sku.clone() }
    }
}

impl std::fmt::Display for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line { customer, sku } => write!(f, "line {customer}, {sku}"),
            Self::Excluded {} => f.write_str("the excluded machines"),
        }
    }
}

/// Opens a pseudonym of a section: the machine behind it, with the name that its reseller knows it by. Only in
/// bundles for a destination that is set to real names; not committed to, but checked against the pseudonym.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// Which machine.
    pub opened: pseudonym::Opening,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// How many lines stand before it.
    pub end: u64,
}
