//! Stories of some dozens of seeds, and that they would notice.

use crate::house::Keeps;
use crate::story::{Count, tell};

/// Seeds of a test run; `SEATBEAT_SEEDS` sets another number, `SEATBEAT_SEED` asks for one.
const SEEDS: u64 = 36;

/// Seeds within which a journal that promises too much has to be noticed.
const NOTICED_WITHIN: u64 = 10;

fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("`{name}` is no number: {text}")))
}

/// Tells every third seed; what they came by.
fn tell_thirds(third: u64) {
    let all = match asked("SEATBEAT_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=asked("SEATBEAT_SEEDS").unwrap_or(SEEDS),
    };
    let mut sum = Count::default();
    let mut told = 0;
    for seed in all.filter(|seed| seed % 3 == third) {
        match tell(seed, Keeps::AtOnce) {
            Ok(count) => sum.add(count),
            Err(broken) => {
                panic!("{broken}\nagain with: SEATBEAT_SEED={seed} cargo test -p seatbeat-turmoil")
            }
        }
        told += 1;
    }
    if told >= SEEDS / 3 {
        let least = [sum.collector_kills, sum.agent_kills, sum.broken_links, sum.held_links];
        assert!(least.iter().all(|count| *count > 0) && sum.evidence > 0 && sum.stood_by > 0, "{sum:?}");
    }
}

#[test]
fn what_is_acknowledged_is_kept_once_and_all_arrives_first_third() {
    tell_thirds(0);
}

#[test]
fn what_is_acknowledged_is_kept_once_and_all_arrives_second_third() {
    tell_thirds(1);
}

#[test]
fn what_is_acknowledged_is_kept_once_and_all_arrives_last_third() {
    tell_thirds(2);
}

#[test]
fn a_journal_that_acknowledges_before_it_writes_is_noticed() {
    let broken = (1..=NOTICED_WITHIN).find_map(|seed| tell(seed, Keeps::Later).err());
    let broken = broken.expect("a journal that forgets is noticed");
    assert!(broken.contains("is lost") || broken.contains("ended"), "{broken}");
}
