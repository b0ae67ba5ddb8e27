//! When a refused agent is to come again. Invariant: not all at one instant; an agent that does not understand the hint
//! comes again by its own back-off.

use std::time::Duration;

use seatbeat_proto::wire::RETRY_AFTER;
use tonic::Status;
use tonic::metadata::MetadataValue;

/// Machines that one core takes back a second: a handshake and a Welcome cost some 0.7 ms.
const BACK_A_SECOND: u32 = 1_400;

/// While the journal takes nothing: what an operator needs to notice, or a database to fail over.
pub const JOURNAL_AWAY: Duration = Duration::from_secs(15);

/// While there is no room for more evidence: the time in which a full queue is written.
pub const BUSY: Duration = Duration::from_secs(4);

/// A refusal with the time after which it is worth another try: this, and up to as much again.
pub fn later(status: Status, after: Duration) -> Status {
    let mut chance = [0; 2];
    getrandom::fill(&mut chance).expect("the operating system gives random bytes");
    let share = after * u32::from(u16::from_le_bytes(chance)) / u32::from(u16::MAX);
    at(status, after + share)
}

/// When the `number`th of those that lose their connection at once is to come back.
pub fn turn(number: usize) -> Duration {
    Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX) / BACK_A_SECOND
}

/// A refusal with the time of the next try.
pub fn at(mut status: Status, after: Duration) -> Status {
    let value = MetadataValue::from(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    status.metadata_mut().insert(RETRY_AFTER, value);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_ms(status: &Status) -> u64 {
        status.metadata().get(RETRY_AFTER).unwrap().to_str().unwrap().parse().unwrap()
    }

    #[test]
    fn those_that_are_refused_together_come_again_one_after_the_other() {
        let hints: Vec<u64> = (0..200).map(|_| after_ms(&later(Status::unavailable("busy"), BUSY))).collect();
        assert!(hints.iter().all(|hint| (4_000..=8_000).contains(hint)), "{hints:?}");
        assert!(hints.iter().any(|hint| *hint < 5_000) && hints.iter().any(|hint| *hint > 7_000));
        assert_eq!(turn(0), Duration::ZERO);
        assert_eq!(turn(14_000), Duration::from_secs(10));
    }
}
