//! A journal record as the fold reads it, and why it does not become part of the state.
//! Invariant: a field that is not what it has to be is named with the record's place.

use std::str::FromStr;

use jiff::Timestamp;
use seatbeat_proto::instant;
use seatbeat_proto::wire::JournalRecord;

use super::FoldError;
use crate::registry::Refusal;

/// A record at its position, with what reads its fields.
pub(super) struct Entry {
    pub(super) position: u64,
    pub(super) record: JournalRecord,
}

impl Entry {
    pub(super) fn recorded_at(&self) -> Result<Timestamp, FoldError> {
        self.instant("recorded_at_ms", self.record.recorded_at_ms)
    }

    pub(super) fn instant(&self, field: &'static str, ms: i64) -> Result<Timestamp, FoldError> {
        instant::from_ms(ms).map_err(|error| self.invalid(field, error))
    }

    pub(super) fn id<T: FromStr<Err: std::fmt::Display>>(
        &self,
        field: &'static str,
        text: &str,
    ) -> Result<T, FoldError> {
        text.parse().map_err(|error| self.invalid(field, error))
    }

    pub(super) fn bytes32(&self, field: &'static str, bytes: &[u8]) -> Result<[u8; 32], FoldError> {
        bytes.try_into().map_err(|_| self.invalid(field, "it has not 32 bytes"))
    }

    pub(super) fn decode<M: prost::Message + Default>(&self, payload: &[u8]) -> Result<M, FoldError> {
        M::decode(payload).map_err(|source| FoldError::Undecodable { position: self.position, source })
    }

    pub(super) fn invalid(&self, field: &'static str, why: impl std::fmt::Display) -> FoldError {
        FoldError::Invalid { position: self.position, field, why: why.to_string() }
    }
}

/// Why a record did not become part of the state.
pub(super) enum Stop {
    Refused(Refusal),
    Error(FoldError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<FoldError> for Stop {
    fn from(error: FoldError) -> Self {
        Self::Error(error)
    }
}

pub(super) fn refuse_unless(holds: bool, refusal: Refusal) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(Stop::Refused(refusal)) }
}
