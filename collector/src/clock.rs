//! The collector's clock: the one place that reads the time of day. Invariant: it runs at the pace of the machine's
//! clock, shifted by a fixed offset where the process was told to run as of another day.

use jiff::{SignedDuration, Timestamp};

/// Tells the time of day.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    offset: SignedDuration,
}

impl Clock {
    /// The machine's clock.
    pub fn real() -> Self {
        Self::default()
    }

    /// A clock that shows `start` now.
    pub fn as_of(start: Timestamp) -> Self {
        Self { offset: start.duration_since(machine_clock()) }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        machine_clock().checked_add(self.offset).unwrap_or(Timestamp::MAX)
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
