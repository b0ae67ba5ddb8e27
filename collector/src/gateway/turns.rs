//! Turns for what many are due at once. Invariant: two turns are a pause apart, and whoever comes when nobody waits has
//! his at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// See the module's text.
pub struct Turns {
    pause: Duration,
    next: Mutex<Instant>,
}

impl Turns {
    /// With such a pause between two.
    pub fn each(pause: Duration) -> Self {
        Self { pause, next: Mutex::new(Instant::now()) }
    }

    /// When the next one is.
    pub fn next(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(Instant::now());
        *next = turn + self.pause;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_comes_alone_has_a_turn_at_once_and_a_crowd_one_after_the_other() {
        let turns = Turns::each(Duration::from_millis(2));
        let begin = Instant::now();
        let crowd: Vec<u128> = (0..4).map(|_| (turns.next() - begin).as_millis()).collect();
        assert_eq!(crowd, [0, 2, 4, 6]);
        tokio::time::advance(Duration::from_millis(20)).await;
        let later: Vec<u128> = (0..2).map(|_| (turns.next() - begin).as_millis()).collect();
        assert_eq!(later, [20, 22], "who comes late does not wait");
    }
}
