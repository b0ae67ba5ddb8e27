//! Months without end: seeds after seeds for so many minutes. `--minutes N` (10), `--from SEED` (1).

use std::process::ExitCode;
use std::time::{Duration, Instant};

use seatbeat_sim::run::{Answer, Failure, Question};

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command that measures"
)]
fn main() -> ExitCode {
    let Some((minutes, from)) = arguments() else {
        eprintln!("usage: seatbeat-sim [--minutes N] [--from SEED]");
        return ExitCode::from(2);
    };
    let (since, long) = (Instant::now(), Duration::from_secs(60 * minutes));
    let (mut sum, mut seeds) = (Answer::default(), 0);
    while since.elapsed() < long {
        let question = Question::of_seed(from + seeds);
        let answer = question.run();
        if let Some(broken) = &answer.broken {
            eprintln!("{}", Failure(question, broken));
            return ExitCode::FAILURE;
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
        "{} reports, {} records, {} forks, {} merges, {} splits, {} statements, {} corrections: every promise held",
        sum.evidence, sum.records, sum.forks, sum.merges, sum.splits, sum.sealed, sum.corrections,
    );
    ExitCode::SUCCESS
}

/// Minutes and first seed.
fn arguments() -> Option<(u64, u64)> {
    let (mut minutes, mut from) = (10, 1);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--minutes" => minutes = number,
            "--from" => from = number,
            _ => return None,
        }
    }
    Some((minutes, from))
}
