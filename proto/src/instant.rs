//! Instants as the wire writes them: Unix milliseconds in an `int64`. Invariant: a value made here is a valid
//! instant, and milliseconds survive the round trip.

use jiff::Timestamp;

/// An `int64` that no instant belongs to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} ms is outside of what an instant can be")]
pub struct InstantError(i64);

/// The instant of these Unix milliseconds.
///
/// # Errors
/// When they are beyond the years that an instant can have.
pub fn from_ms(ms: i64) -> Result<Timestamp, InstantError> {
    Timestamp::from_millisecond(ms).map_err(|_| InstantError(ms))
}

/// Unix milliseconds of an instant, rounded down.
pub fn to_ms(instant: Timestamp) -> i64 {
    instant.as_nanosecond().div_euclid(1_000_000) as i64
}
