//! What one more report costs, against how many machines there are: its part of a group commit, the fold, and the
//! search rows. Invariant: reports come from machines in no order, each fleet in a process of its own.

use std::process::ExitCode;

use jiff::SignedDuration;
use seatbeat_collector::journal::{FileJournal, Journal as _, Position};
use seatbeat_collector::lookup::{Brought, Lookup, Place};
use seatbeat_fleet::seed::Seed;
use seatbeat_ledger::fold::{Fold, Reading, Verdict};
use serde::{Deserialize, Serialize};

use crate::results::Section;
use crate::stopwatch::timed;
use crate::{own, table};
use seatbeat_fleet::journal as fleet;

const ABOUT: &str = "A report's cost behind the gateway, in microseconds, with so many machines known: in batches of \
512, journal (written and synced), fold, and search rows. Reports come from machines in no order. COPIED is the fold \
while somebody holds a copy of the state (a close, a snapshot): the first report to each shelf copies it.";

/// Records of a batch, as of a full commit.
const BATCH: usize = 512;

/// What a fleet showed, in nanoseconds a report.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figures {
    journal: u64,
    fold: u64,
    copied: u64,
    rows: u64,
    state_kib: u64,
}

/// Measures fleets of these sizes, and publishes.
pub fn bench(sizes: &[usize], reports: usize) -> anyhow::Result<ExitCode> {
    let mut shown: Vec<Vec<String>> = Vec::new();
    let mut first = None;
    for size in sizes {
        table::progress(&format!("{size} machines"));
        let arguments = ["__report", "--machines", &size.to_string(), "--reports", &reports.to_string()];
        let figures: Figures = own::run(&arguments.map(str::to_owned))?;
        let us = |ns: u64| table::tenths(ns / 100);
        let sum = figures.journal + figures.fold;
        let base = *first.get_or_insert(sum);
        shown.push(vec![
            size.to_string(),
            us(figures.journal),
            us(figures.fold),
            us(figures.copied),
            us(figures.rows),
            table::ratio(sum, base),
            (figures.state_kib * 1024 / *size as u64).to_string(),
        ]);
    }
    let mut section = Section::new("report", ABOUT);
    let head = [
        "MACHINES",
        "JOURNAL us",
        "FOLD us",
        "COPIED us",
        "ROWS us",
        "JOURNAL + FOLD / FIRST",
        "BYTES / MACHINE",
    ];
    section.table(&head, shown);
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

/// The measured process.
pub fn child(machines: usize, reports: usize) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let mut journal = FileJournal::open(&folder.path().join("journal"))?;
    let lookup = Lookup::open(&folder.path().join("lookup"), Position(0))?;
    let mut fold = Fold::default();
    let mut fleet: Vec<fleet::Machine> = (0..machines).map(fleet::Machine::new).collect();
    for record in fleet::foundation(machines) {
        fold.apply(&record)?;
    }
    for (number, machine) in fleet.iter_mut().enumerate() {
        fold.apply(&machine.enrolment(number))?;
        fold.apply(&machine.report(fleet::start()))?;
    }
    bring(&lookup, Position(0), Position(fold.position()), [])?;
    let (state_kib, _) = own::memory_kib()?;
    let mut seed = Seed::new(1);
    let mut batches = |hours: i64| -> Vec<Vec<Vec<u8>>> {
        let at = fleet::start() + SignedDuration::from_hours(hours);
        let mut one = || fleet[seed.below(machines as u64) as usize].report(at);
        (0..reports / BATCH).map(|_| (0..BATCH).map(|_| one()).collect()).collect()
    };
    let (plain, copied) = (batches(25), batches(49));
    let count = (plain.len() * BATCH) as u64;
    let [mut in_journal, mut in_fold, mut in_rows] = [0u64; 3];
    for batch in &plain {
        let (appended, time) = timed(|| journal.append(batch));
        appended?;
        in_journal += u64::try_from(time.as_nanos())?;
        let first = Position(fold.position());
        let readings: Vec<Reading> = batch.iter().map(|record| Reading::of(record)).collect();
        let (brought, time) = timed(|| {
            let places = readings.iter().zip(first.0..).filter_map(|(reading, at)| {
                let evidence = reading.evidence()?;
                Some(Place::new(&evidence.machine, evidence.sequence, evidence.observed_at, Position(at)))
            });
            bring(&lookup, first, first.plus(batch.len() as u64), places)
        });
        brought?;
        in_rows += u64::try_from(time.as_nanos())?;
        drop(readings);
        let (applied, time) = timed(|| apply(&mut fold, batch));
        applied?;
        in_fold += u64::try_from(time.as_nanos())?;
    }
    let held = fold.clone();
    let (applied, while_copied) = timed(|| copied.iter().try_for_each(|batch| apply(&mut fold, batch)));
    applied?;
    anyhow::ensure!(held.position() + count == fold.position(), "a copy stays as it was");
    own::tell(&Figures {
        journal: in_journal / count,
        fold: in_fold / count,
        copied: u64::try_from(while_copied.as_nanos())? / count,
        rows: in_rows / count,
        state_kib,
    })?;
    Ok(ExitCode::SUCCESS)
}

fn apply(fold: &mut Fold, batch: &[Vec<u8>]) -> anyhow::Result<()> {
    for record in batch {
        anyhow::ensure!(fold.apply(record)? == Verdict::Taken, "a report is taken");
    }
    Ok(())
}

/// Brings places, and writes what is full at once: a collector does that beside its commits.
fn bring(
    lookup: &Lookup,
    first: Position,
    next: Position,
    places: impl IntoIterator<Item = Place>,
) -> anyhow::Result<()> {
    match lookup.bring(first, next, places) {
        Brought::Kept => Ok(()),
        Brought::RunFull => Ok(lookup.write_full_runs()?),
        Brought::TooEarly => anyhow::bail!("places have to come in order"),
    }
}
