//! How long something takes. Invariant: the one place of the benches that reads a clock.

use std::time::{Duration, Instant};

/// Runs something; what it gave and how long it took.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "measuring time is what a bench is for")]
    let started = Instant::now();
    let done = act();
    (done, started.elapsed())
}
