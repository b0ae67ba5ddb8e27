//! The dice. Invariant: the same seed throws the same numbers, so a run can be played again.

use std::time::Duration;

/// SplitMix64: spreads waits, protects nothing.
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// Dice of a seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice nobody can foresee.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn random() -> Self {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the operating system gives random bytes");
        Self(u64::from_le_bytes(seed))
    }

    /// A wait from nothing up to and with `longest`, in whole milliseconds, each as likely.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        let ways = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_millis(self.throw() % ways)
    }

    /// `interval`, a tenth shorter at most.
    pub fn a_tenth_off(&mut self, interval: Duration) -> Duration {
        interval - self.up_to(interval / 10)
    }

    /// Dice of their own, which these decide.
    pub fn split(&mut self) -> Self {
        Self(self.throw())
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same_numbers() {
        let throws = |seed| {
            let mut dice = Jitter::from_seed(seed);
            std::array::from_fn::<_, 8, _>(|_| dice.up_to(Duration::from_secs(60)))
        };
        assert_eq!(throws(7), throws(7));
        assert_ne!(throws(7), throws(8));
    }

    #[test]
    fn throws_stay_within_their_bounds_and_use_all_of_them() {
        let mut dice = Jitter::from_seed(1);
        let throws: Vec<_> = (0..2_000).map(|_| dice.up_to(Duration::from_millis(9)).as_millis()).collect();
        for expected in 0..=9 {
            assert!(throws.contains(&expected), "{expected} never came");
        }
        assert!(throws.iter().all(|throw| *throw <= 9));
        let minute = Duration::from_secs(60);
        for _ in 0..1_000 {
            let wait = dice.a_tenth_off(minute);
            assert!(wait >= Duration::from_secs(54) && wait <= minute);
        }
    }
}
