//! What the agent door counts and times beside its work. Invariant: nothing of it is written or billed, and no machine
//! is named: as many numbers stand here with a million agents as with one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use seatbeat_proto::wire::RefusalReason;

/// Bounds of the acknowledgements' histogram: from a lone report on a fast disk to an agent that gives up.
const ACK_SECONDS: [f64; 13] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Why evidence is refused, as it is named in a label.
const REASONS: [(RefusalReason, &str); 7] = [
    (RefusalReason::Unspecified, "unspecified"),
    (RefusalReason::BadSignature, "bad_signature"),
    (RefusalReason::WrongMachine, "wrong_machine"),
    (RefusalReason::Malformed, "malformed"),
    (RefusalReason::BrokenChain, "broken_chain"),
    (RefusalReason::Forked, "forked"),
    (RefusalReason::Banned, "banned"),
];

/// See the module's text.
#[derive(Debug)]
pub struct Meters {
    acks: Histogram,
    refused: [AtomicU64; REASONS.len()],
}

impl Default for Meters {
    fn default() -> Self {
        Self { acks: Histogram::new(ACK_SECONDS), refused: Default::default() }
    }
}

impl Meters {
    /// From the arrival of a group of evidence to its acknowledgement.
    pub fn acks(&self) -> Histogram {
        self.acks.clone()
    }

    /// Evidence that was refused since the start, by the reason's name.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        REASONS.iter().map(|(_, name)| *name).zip(counts)
    }

    /// Notes how long an acknowledgement took.
    pub(super) fn acknowledged(&self, after: Duration) {
        self.acks.observe(after.as_secs_f64());
    }

    /// Counts a refusal.
    pub(super) fn refuse(&self, reason: RefusalReason) {
        if let Some(place) = REASONS.iter().position(|(one, _)| *one == reason) {
            self.refused[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_name_and_a_place_of_its_own() {
        let meters = Meters::default();
        for number in 0.. {
            let Ok(reason) = RefusalReason::try_from(number) else { break };
            meters.refuse(reason);
        }
        let counts: Vec<_> = meters.refused().collect();
        assert!(counts.iter().all(|(_, count)| *count == 1), "{counts:?}");
        assert!(counts.len() > 1 && counts.iter().map(|(name, _)| *name).eq(REASONS.map(|(_, name)| name)));
    }
}
