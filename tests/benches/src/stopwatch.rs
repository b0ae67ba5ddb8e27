//! How long something takes. Invariant: the one place of the benches that reads a clock.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// Runs something; what it gave and how long it took.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "measuring time is what a bench is for")]
    let started = Instant::now();
    let done = act();
    (done, started.elapsed())
}

/// Runs something; what it gave and the CPU time that this process used meanwhile, which others that share the machine
/// change less than they do the time it took.
pub fn busy<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let before = used();
    let done = act();
    (done, used().saturating_sub(before))
}

fn used() -> Duration {
    let us = |time: nix::sys::time::TimeVal| {
        u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default()
    };
    getrusage(UsageWho::RUSAGE_SELF)
        .map(|used| Duration::from_micros(us(used.user_time()) + us(used.system_time())))
        .unwrap_or_default()
}
