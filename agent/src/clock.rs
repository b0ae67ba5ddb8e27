//! The one place that reads the clock. Invariant: everybody else is told what time it is.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::moment::Moment;

/// The machine's clock, or one that was set for a demonstration and goes on from there.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    set_to: Option<Timestamp>,
}

impl Clock {
    /// The machine's own clock, or as if the process had started at `set_to`.
    pub fn start(set_to: Option<Timestamp>) -> Self {
        Self { started: Instant::now(), set_to }
    }

    /// What both clocks show.
    #[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
    pub fn now(&self) -> Moment {
        let uptime = self.started.elapsed();
        let flowed = SignedDuration::try_from(uptime).unwrap_or(SignedDuration::MAX);
        let set = self.set_to.map(|set_to| set_to.checked_add(flowed).unwrap_or(Timestamp::MAX));
        Moment { wall: set.unwrap_or_else(Timestamp::now), uptime }
    }

    /// How long from now until an uptime.
    pub fn until(&self, uptime: Duration) -> Duration {
        uptime.saturating_sub(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_starts_there_and_goes_on() {
        let set_to: Timestamp = "2026-03-29T00:59:59Z".parse().unwrap();
        let clock = Clock::start(Some(set_to));
        let (first, second) = (clock.now(), clock.now());
        assert!(first.wall >= set_to && first.wall < set_to + SignedDuration::from_mins(1));
        assert!(second.wall >= first.wall && second.uptime >= first.uptime);
        assert_eq!(second.jump_ms_since(first).abs() / 10, 0);
    }
}
