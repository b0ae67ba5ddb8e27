//! One machine in one section of a bundle. Invariant: a row's text is canonical JSON, its fields in the order of
//! their names; the text is the leaf.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::marks::{DaySet, HashText, Pseudonym};
use crate::record::Sku;

/// A machine behind a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeatRow {
    /// The agents that were joined in it, where there are several; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<Pseudonym>,
    /// Counted days on which it was seen using the SKU.
    pub confirmed: DaySet,
    /// Its first counted day ever for any SKU of the same price group (for this one when it has none).
    pub first: Date,
    /// Hash of its newest evidence, which holds its whole chain; absent where the records do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<HashText>,
    /// What it is called here.
    pub machine: Pseudonym,
    /// Counted days on which it was silent.
    pub presumed: DaySet,
}

/// A machine that reported in the month, on days that count for no line here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExcludedRow {
    /// As [`SeatRow::agents`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<Pseudonym>,
    /// As [`SeatRow::last`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<HashText>,
    /// What it is called here.
    pub machine: Pseudonym,
    /// Why, sorted.
    pub reasons: Vec<Excluded>,
}

/// Days on which a machine reported, and why they do not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excluded {
    /// Which days.
    pub days: DaySet,
    /// Why.
    pub reason: ExcludedReason,
    /// For which SKU, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<Sku>,
}

/// Why a day on which a machine reported does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExcludedReason {
    /// Nothing was active.
    NotActive,
    /// What was active is deliberately not billed (rule 6).
    NotBilled,
    /// The licence was suspended (rule 4).
    Suspended,
    /// Confirmed on fewer days than the SKU asks for (rule 9).
    MinDays,
    /// The machine's first month is free (rule 9).
    FreeFirstMonth,
    /// It counts for a SKU that another distributor bills.
    OtherDistributor,
    /// The machine belongs to nobody (rule 1).
    Unassigned,
    /// Nobody said what the product is billed as (rule 6).
    Unmapped,
}

impl ExcludedReason {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotActive => "not_active",
            Self::NotBilled => "not_billed",
            Self::Suspended => "suspended",
            Self::MinDays => "min_days",
            Self::FreeFirstMonth => "free_first_month",
            Self::OtherDistributor => "other_distributor",
            Self::Unassigned => "unassigned",
            Self::Unmapped => "unmapped",
        }
    }
}

/// A row's text: its leaf.
pub fn text(row: &impl Serialize) -> String {
    serde_json::to_string(row).expect("a row has text keys and plain values")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jcs::to_canonical;

    #[test]
    fn a_row_s_text_is_its_canonical_form() {
        let seat = SeatRow {
            agents: vec![Pseudonym([1; 24])],
            confirmed: serde_json::from_str("5").unwrap(),
            first: "2026-01-05".parse().unwrap(),
            last: Some(HashText([3; 32])),
            machine: Pseudonym([2; 24]),
            presumed: DaySet::default(),
        };
        assert_eq!(text(&seat), to_canonical(&seat).unwrap());
        let reason = Excluded {
            days: serde_json::from_str("5").unwrap(),
            reason: ExcludedReason::MinDays,
            sku: Some("A".parse().unwrap()),
        };
        let row = ExcludedRow {
            agents: vec![Pseudonym([1; 24])],
            last: Some(HashText([3; 32])),
            machine: Pseudonym([2; 24]),
            reasons: vec![reason],
        };
        assert_eq!(text(&row), to_canonical(&row).unwrap());
        for reason in [ExcludedReason::NotActive, ExcludedReason::OtherDistributor, ExcludedReason::Unmapped]
        {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
