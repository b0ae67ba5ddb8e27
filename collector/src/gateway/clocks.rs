//! Whose clock is wrong? When many agents look ahead of the collector, it is the collector's that is behind.
//! Invariant: no clock is read here, and the answer depends on the samples of the last half hour alone.

use std::collections::HashMap;
use std::time::Duration;

use seatbeat_proto::ids::MachineId;

/// An agent whose clock is further ahead than this counts against the collector's.
pub const AHEAD_MAX: Duration = Duration::from_secs(10 * 60);

/// Agents that have to be seen before their clocks mean anything: below it, a few wrong laptops could stop all.
pub const SAMPLES_MIN: usize = 20;

/// One in so many agents ahead is suspect when exceeded: 5 %.
const SUSPECT_ONE_IN: usize = 20;

/// How long a sample counts: twice the longest pause of an agent that cannot connect.
pub const SAMPLE_LIFE: Duration = Duration::from_secs(30 * 60);

/// How long a stream's sample stands for its next ones that say the same, so that not every beat goes to the one place
/// where all clocks are kept: far below [`SAMPLE_LIFE`].
pub const NOTE_EVERY: Duration = Duration::from_secs(5 * 60);

/// Whether an agent that is so many milliseconds ahead counts against the collector's clock.
pub fn is_ahead(offset_ms: i64) -> bool {
    i128::from(offset_ms) > AHEAD_MAX.as_millis() as i128
}

/// The agents' clocks as seen lately; times count from the door's opening.
#[derive(Debug, Default)]
pub struct Clocks {
    samples: HashMap<MachineId, Sample>,
    ahead: usize,
}

#[derive(Debug)]
struct Sample {
    ahead: bool,
    seen_at: Duration,
}

impl Clocks {
    /// Takes in by how many milliseconds an agent's clock is ahead (negative: behind).
    pub fn note(&mut self, machine: &MachineId, offset_ms: i64, now: Duration) {
        let ahead = is_ahead(offset_ms);
        let sample = Sample { ahead, seen_at: now };
        let before = self.samples.insert(machine.clone(), sample).is_some_and(|sample| sample.ahead);
        self.ahead = self.ahead + usize::from(ahead) - usize::from(before);
    }

    /// Forgets what was not seen lately.
    pub fn forget(&mut self, now: Duration) {
        self.samples.retain(|_, sample| now.saturating_sub(sample.seen_at) < SAMPLE_LIFE);
        self.ahead = self.samples.values().filter(|sample| sample.ahead).count();
    }

    /// How many agents are ahead, and of how many, when that speaks against the collector's own clock.
    pub fn suspect(&self) -> Option<(usize, usize)> {
        let seen = self.samples.len();
        (seen >= SAMPLES_MIN && self.ahead * SUSPECT_ONE_IN > seen).then_some((self.ahead, seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn clocks(offsets_min: &[(usize, i64)]) -> Clocks {
        let mut clocks = Clocks::default();
        let offsets = offsets_min.iter().flat_map(|(count, offset)| std::iter::repeat_n(*offset, *count));
        for (number, offset) in offsets.enumerate() {
            let machine = format!("mch_{number}").parse().unwrap();
            clocks.note(&machine, offset * MINUTE_MS, Duration::ZERO);
        }
        clocks
    }

    #[test]
    fn more_than_one_in_twenty_ahead_is_suspect() {
        let check = |offsets: &[(usize, i64)], expected| assert_eq!(clocks(offsets).suspect(), expected);
        check(&[(19, 600)], None);
        check(&[(20, 600)], Some((20, 20)));
        check(&[(19, 0), (1, 600)], None);
        check(&[(18, 0), (2, 600)], Some((2, 20)));
        check(&[(95, 0), (5, 600)], None);
        check(&[(94, 0), (6, 600)], Some((6, 100)));
        check(&[(100, 10)], None);
        check(&[(100, 11)], Some((100, 100)));
        check(&[(100, -600)], None);
    }

    #[test]
    fn it_clears_when_the_agents_agree_again_or_were_not_seen_for_long() {
        let mut corrected = clocks(&[(30, 600)]);
        for number in 0..30 {
            corrected.note(&format!("mch_{number}").parse().unwrap(), 0, Duration::from_secs(60));
        }
        assert_eq!(corrected.suspect(), None);

        let mut gone = clocks(&[(30, 600)]);
        gone.forget(SAMPLE_LIFE - Duration::from_secs(1));
        assert_eq!(gone.suspect(), Some((30, 30)));
        gone.forget(SAMPLE_LIFE);
        assert_eq!(gone.suspect(), None);
        assert!(gone.samples.is_empty());
    }

    #[test]
    fn a_clock_at_the_edge_of_time_is_only_ahead() {
        let mut clocks = Clocks::default();
        let machine = "mch_a".parse().unwrap();
        clocks.note(&machine, i64::MAX, Duration::ZERO);
        clocks.note(&machine, i64::MIN, Duration::ZERO);
        assert_eq!(clocks.ahead, 0);
    }
}
