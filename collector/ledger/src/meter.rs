//! `seatbeat meter`: an interchange file and a policy in, statement and earnings out.
//! Invariant: what the collector bills and what anyone recomputes from its records goes through the same `close`.

use jiff::Timestamp;

use crate::body::SealedBody;
use crate::calendar::{Period, Zone};
use crate::close::{CloseError, CloseInput, close};
use crate::policy::{Policy, PolicyError};
use crate::record_line::RecordError;
use crate::record_set::RecordSet;
use crate::usage::Usage;

pub use crate::statement::MeterOutput;

/// What is metered.
#[derive(Debug, Clone, Copy)]
pub struct MeterInput<'a> {
    /// Records as JSON Lines.
    pub records: &'a str,
    /// The policy as TOML.
    pub policy: &'a str,
    /// Which month.
    pub period: Period,
    /// What was written down or received later, and days that begin later, are left out.
    pub as_of: Option<Timestamp>,
    /// Sealed bodies as a JSON array.
    pub sealed: Option<&'a str>,
}

/// An input that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeterError {
    /// A line that is not a record.
    #[error("failed to read the records: {0}")]
    Record(#[from] RecordError),
    /// Not a policy.
    #[error("failed to read the policy: {0}")]
    Policy(#[from] PolicyError),
    /// Not sealed bodies.
    #[error("failed to read the sealed bodies: {0}")]
    Sealed(String),
    /// What cannot be closed.
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// The statement and earnings of a period.
pub fn meter(input: MeterInput<'_>) -> Result<MeterOutput, MeterError> {
    let policy = Policy::parse(input.policy)?;
    let records = RecordSet::parse_jsonl(input.records, input.as_of)?;
    let sealed = input.sealed.map_or(Ok(Vec::new()), SealedBody::parse_array).map_err(MeterError::Sealed)?;
    let mut zones: Vec<&Zone> = sealed.iter().filter_map(|body| Some(&body.policy.as_ref()?.zone)).collect();
    zones.retain(|zone| **zone != policy.zone);
    zones.sort_by_key(|zone| zone.name());
    zones.dedup();
    let elsewhere: Vec<Usage> = zones.into_iter().map(|zone| records.usage(zone)).collect();
    let usage = records.usage(&policy.zone);
    Ok(close(CloseInput {
        usage: &usage,
        usage_elsewhere: &elsewhere,
        policy: &policy,
        period: input.period,
        as_of: input.as_of,
        sealed: &sealed,
    })?)
}
