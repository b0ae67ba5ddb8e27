//! Months without end: seeds after seeds for so many minutes, or so many seeds. `--minutes N` (10), `--seeds N`,
//! `--from SEED` (1). `--wrong N` looks instead which of the first N seeds notices each thing that is made wrong.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use seatbeat_sim::run::{Answer, Failure, Question};
use seatbeat_sim::wrong::Wrong;

/// What is asked for.
struct Asked {
    minutes: u64,
    seeds: Option<u64>,
    from: u64,
    wrong: Option<u64>,
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command that measures"
)]
fn main() -> ExitCode {
    let Some(Asked { minutes, seeds: limit, from, wrong }) = asked() else {
        eprintln!("usage: seatbeat-sim [--minutes N | --seeds N | --wrong N] [--from SEED]");
        return ExitCode::from(2);
    };
    if let Some(within) = wrong {
        let noticed: Vec<bool> = Wrong::ALL.iter().map(|wrong| is_noticed(*wrong, from, within)).collect();
        return if noticed.contains(&false) { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let (since, long) = (Instant::now(), Duration::from_secs(60 * minutes));
    let (mut sum, mut seeds, mut broken) = (Answer::default(), 0, 0);
    while limit.map_or_else(|| since.elapsed() < long, |limit| seeds < limit) {
        let question = Question::of_seed(from + seeds);
        let answer = question.run();
        if let Some(what) = &answer.broken {
            eprintln!("{}", Failure(question, what));
            broken += 1;
        }
        sum.add(&answer);
        seeds += 1;
    }
    let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    println!(
        "{seeds} seeds from {from}, {} ms each; {} machine-years; {} faults, {} a minute; {} events",
        took_ms / seeds.max(1),
        sum.machine_days / 365,
        sum.faults,
        sum.faults * 60_000 / took_ms,
        sum.events,
    );
    println!(
        "{} reports, {} records, {} forks, {} merges, {} splits, {} statements, {} corrections, {} switches",
        sum.evidence,
        sum.records,
        sum.forks,
        sum.merges,
        sum.splits,
        sum.sealed,
        sum.corrections,
        sum.switches,
    );
    let kinds: Vec<String> = sum.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("{}", kinds.join(", "));
    if broken > 0 {
        eprintln!("{broken} seeds break a promise");
        return ExitCode::FAILURE;
    }
    println!("every promise held");
    ExitCode::SUCCESS
}

/// Whether something wrong is noticed; says by which promise.
#[expect(clippy::print_stdout, reason = "a command that tells")]
fn is_noticed(wrong: Wrong, from: u64, within: u64) -> bool {
    let noticed = (from..from + within).find_map(|seed| {
        let answer = Question { wrong: Some(wrong), ..Question::of_seed(seed) }.run();
        answer.broken.map(|broken| (seed, broken.invariant))
    });
    match noticed {
        Some((seed, invariant)) => println!("{wrong:?}: seed {seed}, {invariant:?}"),
        None => println!("{wrong:?}: not noticed within {within} seeds: {}", wrong.what()),
    }
    noticed.is_some()
}

fn asked() -> Option<Asked> {
    let mut asked = Asked { minutes: 10, seeds: None, from: 1, wrong: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--minutes" => asked.minutes = number,
            "--seeds" => asked.seeds = Some(number),
            "--from" => asked.from = number,
            "--wrong" => asked.wrong = Some(number),
            _ => return None,
        }
    }
    Some(asked)
}
