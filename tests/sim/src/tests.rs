//! Months of many seeds, the same one twice, and everything that can be made wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::invariant::Invariant;
use crate::run::{Answer, Failure, Question};
use crate::wrong::Wrong;

/// Seeds of a test run; `SEATBEAT_SEEDS` sets another number.
const SEEDS: u64 = 1_000;

/// Seeds within which everything wrong has to be noticed.
const NOTICED_WITHIN: u64 = 200;

/// What the environment says, when it is a number.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("`{name}` is no number: {text}")))
}

/// The seeds that are run: one that is asked for, or the first so many, every other of them.
fn seeds(parity: u64) -> Vec<u64> {
    match asked("SEATBEAT_SEED") {
        Some(seed) if parity == 0 => vec![seed],
        Some(_) => Vec::new(),
        None => (1..=asked("SEATBEAT_SEEDS").unwrap_or(SEEDS)).filter(|seed| seed % 2 == parity).collect(),
    }
}

/// Runs seeds; each promise has to hold in each of them. What they came by.
fn hold(seeds: Vec<u64>) -> Answer {
    let mut sum = Answer::default();
    for seed in seeds {
        let mut question = Question::of_seed(seed);
        if let Some(told) = asked("SEATBEAT_TOLD") {
            question.told = told as usize;
        }
        let answer = question.run();
        if let Some(broken) = &answer.broken {
            panic!("{}", Failure(question, broken));
        }
        sum.add(&answer);
    }
    sum
}

/// A run that came by nothing would show nothing.
fn came_by_everything(sum: &Answer) {
    if asked("SEATBEAT_SEED").is_some() || asked("SEATBEAT_SEEDS").is_some_and(|seeds| seeds < SEEDS) {
        return;
    }
    let least = [sum.merges, sum.splits, sum.sealed, sum.corrections, sum.switches];
    assert!(least.iter().all(|count| *count > 0), "{sum:?}");
    for kind in [
        "answer of a commit lost",
        "append in doubt",
        "disk of a collector lost",
        "order key lost",
        "order key rotated",
        "upload refused",
        "upload taken twice",
        "write of an earlier leader refused",
    ] {
        assert!(sum.kinds.contains_key(kind), "nothing of this: {kind}: {sum:?}");
    }
}

#[test]
fn every_promise_holds_in_months_of_odd_seeds() {
    came_by_everything(&hold(seeds(1)));
}

#[test]
fn every_promise_holds_in_months_of_even_seeds() {
    came_by_everything(&hold(seeds(0)));
}

#[test]
fn the_same_seed_twice_gives_the_same_bytes_and_another_seed_others() {
    let of = |seed| Question::of_seed(seed).run();
    for seed in [11, 12] {
        let once = of(seed);
        assert_eq!(once, of(seed), "seed {seed}");
        assert_ne!(once.digest, of(seed + 100).digest);
    }
}

/// The first seed that notices, and by which promise.
fn noticed(wrong: Wrong) -> Option<(u64, Invariant)> {
    (1..=NOTICED_WITHIN).find_map(|seed| {
        let answer = Question { wrong: Some(wrong), ..Question::of_seed(seed) }.run();
        answer.broken.map(|broken| (seed, broken.invariant))
    })
}

#[test]
fn everything_that_can_be_made_wrong_is_noticed() {
    let next = AtomicU64::new(0);
    let work = || {
        let mut found = BTreeMap::new();
        while let Some(wrong) = Wrong::ALL.get(next.fetch_add(1, Ordering::SeqCst) as usize) {
            found.insert(*wrong, noticed(*wrong));
        }
        found
    };
    let found: BTreeMap<Wrong, Option<(u64, Invariant)>> = thread::scope(|scope| {
        let both = [scope.spawn(work), scope.spawn(work)];
        both.into_iter().flat_map(|half| half.join().expect("a run panicked")).collect()
    });
    let told: Vec<String> = found
        .iter()
        .map(|(wrong, found)| match found {
            Some((seed, invariant)) => format!("{wrong:?}: seed {seed}, {invariant:?}"),
            None => format!("{wrong:?}: not noticed within {NOTICED_WITHIN} seeds: {}", wrong.what()),
        })
        .collect();
    assert!(found.len() >= 20 && found.values().all(Option::is_some), "{told:#?}");
    // Shown with `--nocapture`.
    #[expect(clippy::print_stdout, reason = "the table of what is noticed")]
    {
        println!("{told:#?}");
    }
}
