//! How long a collector takes to open its books, against how much it has to remember: from the journal alone, and from
//! a snapshot. Invariant: each opening is a process of its own; the file cache is warm for both.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::SignedDuration;
use seatbeat_collector::books::Books;
use seatbeat_collector::clock::Clock;
use seatbeat_collector::config::Config;
use seatbeat_collector::found::found;
use seatbeat_collector::journal::{FileJournal, Journal as _};
use serde::{Deserialize, Serialize};

use crate::journal::bytes;
use crate::results::Section;
use crate::stopwatch::timed;
use crate::{own, table};
use seatbeat_fleet::journal as fleet;

const ABOUT: &str = "Opening a collector's books. JOURNAL: every record read, checked and folded. SNAPSHOT: the state \
read from its file, and of the journal its last two segments; older ones are checked behind it, while agents are \
answered already. Records are reports with three products, four a day and machine.";

/// Records written at once while a store is made.
const BATCH: usize = 4096;

/// Hours between two reports of a machine.
const HOURS: i64 = 6;

/// What one opening showed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    open_ms: u64,
    rss_kib: u64,
    end_ms: u64,
    records: u64,
}

/// Measures stores of so many machines and reports of each, and publishes.
pub fn bench(fleets: &[(usize, usize)]) -> anyhow::Result<ExitCode> {
    let mut shown = Vec::new();
    for (machines, reports) in fleets {
        let folder = tempfile::tempdir()?;
        let store = folder.path().join("store");
        let text = store.to_str().context("a folder's name is text")?;
        let run = |stage: &str| {
            table::progress(&format!("{machines} machines, {reports} reports each: {stage}"));
            let sizes = ["--machines", &machines.to_string(), "--reports", &reports.to_string()];
            let arguments = [["__start", "--stage", stage, "--store"].as_slice(), &[text], &sizes].concat();
            own::run::<Figures>(&arguments.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        run("make")?;
        let journal = run("open")?;
        let snapshot = run("open")?;
        let size = std::fs::metadata(store.join("snapshot"))?.len();
        let mib = |bytes: u64| (bytes / 1024 / 1024).to_string();
        shown.push(vec![
            machines.to_string(),
            journal.records.to_string(),
            mib(bytes(&store.join("journal"))?),
            journal.open_ms.to_string(),
            mib(size),
            snapshot.open_ms.to_string(),
            table::ratio(journal.open_ms, snapshot.open_ms),
            mib(snapshot.rss_kib * 1024),
            (journal.end_ms / 1000).to_string(),
        ]);
    }
    let mut section = Section::new("start", ABOUT);
    let head = [
        "MACHINES",
        "RECORDS",
        "JOURNAL MiB",
        "JOURNAL ms",
        "SNAPSHOT MiB",
        "SNAPSHOT ms",
        "JOURNAL / SNAPSHOT",
        "PEAK MiB",
        "SEARCH ROWS s",
    ];
    section.table(&head, shown);
    section.note(
        "PEAK is that of the opening from a snapshot. SEARCH ROWS: from the first opening to an orderly end, the time \
         in which all search rows are made and the snapshot is written.",
    );
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

/// The measured process: makes a store, or opens it and ends in order.
pub fn child(stage: &str, store: &Path, machines: usize, reports: usize) -> anyhow::Result<ExitCode> {
    let figures = if stage == "make" { make(store, machines, reports)? } else { open(store)? };
    own::tell(&figures)?;
    Ok(ExitCode::SUCCESS)
}

fn make(store: &Path, machines: usize, reports: usize) -> anyhow::Result<Figures> {
    found(store, &Config::default(), fleet::POLICY, Clock::as_of(fleet::start()))?;
    let mut journal = FileJournal::open(&store.join("journal"))?;
    let mut fleet: Vec<fleet::Machine> = (0..machines).map(fleet::Machine::new).collect();
    let mut batch = Vec::with_capacity(BATCH);
    let mut write = |record: Vec<u8>| {
        batch.push(record);
        if batch.len() == BATCH {
            journal.append(&batch)?;
            batch.clear();
        }
        anyhow::Ok(())
    };
    // The first of these found a journal: this one is founded already.
    fleet::foundation(machines).into_iter().skip(1).try_for_each(&mut write)?;
    for (number, machine) in fleet.iter().enumerate() {
        write(machine.enrolment(number))?;
    }
    for report in 0..reports {
        let at = fleet::start() + SignedDuration::from_hours(HOURS * report as i64);
        for (number, machine) in fleet.iter_mut().enumerate() {
            write(machine.report(at + SignedDuration::from_millis(number as i64)))?;
        }
    }
    journal.append(&batch)?;
    Ok(Figures::default())
}

fn open(store: &Path) -> anyhow::Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clock = Clock::as_of(fleet::start() + SignedDuration::from_hours(24 * 300));
    let (opened, open) = timed(|| runtime.block_on(async { Books::open(store, clock) }));
    let (books, end) = opened?;
    let (_, rss_kib) = own::memory_kib()?;
    let records = books.read(|fold| fold.position());
    drop(books);
    let (ended, end) = timed(|| runtime.block_on(end.close()));
    ended?;
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis());
    Ok(Figures { open_ms: ms(open)?, rss_kib, end_ms: ms(end)?, records })
}
