//! When a far side is asked again. Invariant: the longer it does not help the rarer, never sooner than it said, and
//! never more rarely than once in the longest wait.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The first wait after a failure, in seconds; each further one is twice as long.
const FAILED_FIRST_S: i64 = 60;

/// The longest: somebody may mend it in the morning.
const FAILED_LONGEST_S: i64 = 6 * 3600;

/// The first wait for a verdict, in seconds: some far sides answer at once.
const VERDICT_FIRST_S: i64 = 2;

/// The longest: people decide.
const VERDICT_LONGEST_S: i64 = 3600;

/// How long a wait may be shortened or drawn out, in percent: many collectors do not ask at the same instant.
const JITTER_PERCENT: i64 = 20;

/// Failures, or questions without news, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pace {
    turns: u32,
    not_before: Option<Timestamp>,
}

impl Pace {
    /// Whether it is time.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }

    /// When it is, if that is still to come.
    pub fn next(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// How many there were, one after the other.
    pub fn turns(&self) -> u32 {
        self.turns
    }

    /// It failed: the next try is later, and no sooner than `after`. `salt` decides the jitter.
    pub fn failed(&mut self, now: Timestamp, after: Option<Duration>, salt: u64) {
        let wait =
            jittered(doubled(FAILED_FIRST_S, FAILED_LONGEST_S, self.turns), salt ^ u64::from(self.turns));
        let asked = after.and_then(|after| i64::try_from(after.as_secs()).ok()).unwrap_or(0);
        self.later(now, wait.max(asked));
    }

    /// There is no verdict yet.
    pub fn waits(&mut self, now: Timestamp) {
        self.later(now, doubled(VERDICT_FIRST_S, VERDICT_LONGEST_S, self.turns));
    }

    fn later(&mut self, now: Timestamp, seconds: i64) {
        self.turns = self.turns.saturating_add(1);
        let at = now.saturating_add(SignedDuration::from_secs(seconds));
        self.not_before = Some(at.unwrap_or(Timestamp::MAX));
    }
}

fn doubled(first: i64, longest: i64, turns: u32) -> i64 {
    first.checked_shl(turns.min(32)).map_or(longest, |wait| wait.min(longest))
}

fn jittered(seconds: i64, salt: u64) -> i64 {
    let spread = seconds * JITTER_PERCENT / 100;
    if spread == 0 {
        return seconds;
    }
    // SplitMix64: neighbouring salts are far apart.
    let mut mixed = salt.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let place = (mixed ^ (mixed >> 31)) % (2 * spread as u64 + 1);
    seconds - spread + place as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(salt: u64) -> Vec<i64> {
        let (mut pace, mut now) = (Pace::default(), Timestamp::UNIX_EPOCH);
        let mut waits = Vec::new();
        for _ in 0..14 {
            pace.failed(now, None, salt);
            let next = pace.next().unwrap();
            waits.push(next.duration_since(now).as_secs());
            assert!(!pace.is_due(now) && pace.is_due(next));
            now = next;
        }
        waits
    }

    #[test]
    fn waits_double_up_to_a_ceiling_and_differ_from_house_to_house() {
        for salt in 0..200 {
            for (turn, wait) in waits(salt).into_iter().enumerate() {
                let middle = (FAILED_FIRST_S << turn).min(FAILED_LONGEST_S);
                assert!((wait - middle).abs() <= middle * JITTER_PERCENT / 100, "{turn}: {wait}");
            }
        }
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(7), waits(7));
    }

    #[test]
    fn nobody_is_asked_sooner_than_they_said() {
        let mut pace = Pace::default();
        pace.failed(Timestamp::UNIX_EPOCH, Some(Duration::from_secs(7_200)), 3);
        assert_eq!(pace.next().unwrap().as_second(), 7_200);
    }

    #[test]
    fn a_verdict_is_asked_for_soon_and_then_less_often() {
        let mut pace = Pace::default();
        let mut waits = Vec::new();
        for _ in 0..13 {
            pace.waits(Timestamp::UNIX_EPOCH);
            waits.push(pace.next().unwrap().as_second());
        }
        assert_eq!((waits[0], waits[1], waits[12]), (2, 4, VERDICT_LONGEST_S));
    }
}
