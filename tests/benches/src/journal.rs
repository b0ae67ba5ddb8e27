//! Rows a second into the journal and bytes a row, beside sled alone with the same rows. Invariant: both have each batch
//! on the disk, synced, before the next one begins.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use seatbeat_collector::journal::{FileJournal, Journal as _};

use crate::results::Section;
use crate::stopwatch::timed;
use crate::table;
use seatbeat_fleet::journal as fleet;

const ABOUT: &str = "Durable rows a second in one thread, each batch written and synced before the next; rows are \
records of reports with three products. sled: the same rows under their position, each batch applied, flushed and its \
file synced. ROW is what is on the disk afterwards.";

/// Rows of a batch: fewer than a commit gathers, as many, and a large import.
const BATCHES: [usize; 3] = [64, 512, 4096];

/// Machines that the rows come from in turn.
const MACHINES: usize = 1000;

struct Kept {
    rows_a_second: u64,
    bytes_a_row: u64,
}

/// Measures, and publishes.
pub fn bench(rows: usize, times: usize) -> anyhow::Result<ExitCode> {
    let records = records(rows);
    let bare = records.iter().map(Vec::len).sum::<usize>() / rows;
    let mut shown = Vec::new();
    for batch in BATCHES {
        table::progress(&format!("batches of {batch}"));
        // sled takes a sync a batch, too: a tenth of the rows is enough to tell.
        let few = &records[..rows.min((rows / 10).max(batch * 8))];
        let ours = middle(times, || journal(&records, batch))?;
        let sleds = middle(times, || sled(few, batch))?;
        shown.push(vec![
            batch.to_string(),
            ours.rows_a_second.to_string(),
            sleds.rows_a_second.to_string(),
            table::ratio(ours.rows_a_second, sleds.rows_a_second),
            ours.bytes_a_row.to_string(),
            sleds.bytes_a_row.to_string(),
        ]);
    }
    let mut section = Section::new("journal", ABOUT);
    let head =
        ["BATCH", "JOURNAL rows/s", "SLED rows/s", "JOURNAL / SLED", "JOURNAL bytes/ROW", "SLED bytes/ROW"];
    section.table(&head, shown);
    section.note(format!("{rows} rows of {bare} bytes, the middle of {times} runs."));
    section.publish()?;
    Ok(ExitCode::SUCCESS)
}

fn records(rows: usize) -> Vec<Vec<u8>> {
    let mut machines: Vec<fleet::Machine> = (0..MACHINES).map(fleet::Machine::new).collect();
    (0..rows).map(|row| machines[row % MACHINES].report(fleet::start())).collect()
}

fn middle(times: usize, run: impl Fn() -> anyhow::Result<Kept>) -> anyhow::Result<Kept> {
    let mut all = (0..times).map(|_| run()).collect::<anyhow::Result<Vec<_>>>()?;
    all.sort_by_key(|kept| kept.rows_a_second);
    all.into_iter().nth(times / 2).context("it ran at least once")
}

fn kept(rows: usize, time: Duration, folder: &Path) -> anyhow::Result<Kept> {
    let us = u64::try_from(time.as_micros())?.max(1);
    let rows = rows as u64;
    Ok(Kept { rows_a_second: rows * 1_000_000 / us, bytes_a_row: bytes(folder)? / rows })
}

fn journal(records: &[Vec<u8>], batch: usize) -> anyhow::Result<Kept> {
    let folder = tempfile::tempdir()?;
    let mut journal = FileJournal::open(folder.path())?;
    let (written, time) =
        timed(|| records.chunks(batch).try_for_each(|rows| journal.append(rows).map(|_| ())));
    written?;
    kept(records.len(), time, folder.path())
}

fn sled(records: &[Vec<u8>], batch: usize) -> anyhow::Result<Kept> {
    let folder = tempfile::tempdir()?;
    let tree = sled::Config::new().path(folder.path()).flush_every_ms(None).open()?;
    let file = File::open(folder.path().join("db"))?;
    let (written, time) = timed(|| {
        let mut position = 0u64;
        for rows in records.chunks(batch) {
            let mut batch = sled::Batch::default();
            for row in rows {
                batch.insert(&position.to_be_bytes(), row.as_slice());
                position += 1;
            }
            tree.apply_batch(batch)?;
            tree.flush()?;
            file.sync_data()?;
        }
        anyhow::Ok(())
    });
    written?;
    kept(records.len(), time, folder.path())
}

/// Bytes of all files below a folder.
pub fn bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.path().is_dir() { self::bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
