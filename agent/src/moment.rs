//! One reading of both clocks. Invariant: waits are measured by `uptime`, which nobody can set; `wall` only says
//! when something was observed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Both clocks at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// This machine's clock as it is, not corrected.
    pub wall: Timestamp,
    /// Time since the process started; it never goes back.
    pub uptime: Duration,
}

impl Moment {
    /// The wall clock put right by an offset; an offset that leads out of all years changes nothing.
    pub fn corrected(self, offset_ms: i64) -> Timestamp {
        self.wall.checked_add(SignedDuration::from_millis(offset_ms)).unwrap_or(self.wall)
    }

    /// How far the wall clock was set between two readings: what it moved beyond what `uptime` did. A machine
    /// that slept shows the time it slept.
    pub fn jump_ms_since(self, earlier: Self) -> i64 {
        let wall = self.wall.as_millisecond() - earlier.wall.as_millisecond();
        let up = self.uptime.saturating_sub(earlier.uptime).as_millis();
        wall.saturating_sub(i64::try_from(up).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_what_the_wall_moved_beyond_the_uptime() {
        let at = |wall_s, up_s| Moment {
            wall: Timestamp::from_second(wall_s).unwrap(),
            uptime: Duration::from_secs(up_s),
        };
        assert_eq!(at(1_060, 160).jump_ms_since(at(1_000, 100)), 0);
        assert_eq!(at(4_660, 160).jump_ms_since(at(1_000, 100)), 3_600_000);
        assert_eq!(at(1_000, 160).jump_ms_since(at(1_000, 100)), -60_000);
    }

    #[test]
    fn an_offset_out_of_all_years_changes_nothing() {
        let now = Moment { wall: Timestamp::UNIX_EPOCH, uptime: Duration::ZERO };
        assert_eq!(now.corrected(1_500).as_millisecond(), 1_500);
        assert_eq!(now.corrected(i64::MAX), Timestamp::UNIX_EPOCH);
    }
}
