//! The collector's clock: the one place that reads the time of day. Invariant: it runs at the pace of the machine's
//! clock, from another instant on where the process was told to run as of another day.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells the time of day.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// What it showed when it was set.
    set: Option<(Timestamp, Instant)>,
}

impl Clock {
    /// The machine's clock.
    pub fn real() -> Self {
        Self::default()
    }

    /// A clock that shows `start` now.
    pub fn as_of(start: Timestamp) -> Self {
        Self { set: Some((start, Instant::now())) }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        let Some((start, set_at)) = self.set else { return machine_clock() };
        let flowed = SignedDuration::try_from(set_at.elapsed()).unwrap_or(SignedDuration::MAX);
        start.checked_add(flowed).unwrap_or(Timestamp::MAX)
    }

    /// The time of day in Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        seatbeat_proto::instant::to_ms(self.now())
    }
}

#[expect(clippy::disallowed_methods, reason = "the collector reads the clock here and nowhere else")]
fn machine_clock() -> Timestamp {
    Timestamp::now()
}
