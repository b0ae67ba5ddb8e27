//! Metering, read a second time.
//! `oracle` is written from the contract's page alone and shares no line with the ledger:
//! where the two differ, one of them has misread a rule.

mod differential;
mod explained;
mod generate;
mod kept_counted;
mod oracle;
mod page;
mod places;
mod policies;
mod random;

use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::meter::{MeterInput, meter};
use serde_json::Value;

/// One whole question to the metering room, as text, the way a file or a journal holds it.
#[derive(Clone, Debug, Default)]
struct Case {
    /// JSON Lines, one record a line.
    records: String,
    /// TOML.
    policy: String,
    /// `YYYY-MM`.
    period: String,
    as_of: Option<Timestamp>,
    /// A JSON array of statements.
    sealed: Option<String>,
}

/// What the ledger prints, or why it refuses.
fn ledger(case: &Case) -> Result<String, String> {
    let Case { records, policy, period, as_of, sealed } = case;
    let period: Period = period.parse().map_err(|error| format!("{error}"))?;
    let input = MeterInput { records, policy, period, as_of: *as_of, sealed: sealed.as_deref() };
    meter(input).map(|output| output.to_json()).map_err(|error| error.to_string())
}

/// What each reading says of a case.
fn answers(case: &Case) -> [(&'static str, Value); 2] {
    let ledger = ledger(case).unwrap_or_else(|error| panic!("the ledger refuses: {error}"));
    let ledger = serde_json::from_str(&ledger).expect("an answer is JSON");
    [("the ledger", ledger), ("the oracle", oracle::meter(case))]
}
