//! The move of old segments to an archive, behind a crash. Invariant: each record is read once, where it was put, and the
//! list names nothing that the archive does not have; a move that was cut off is ended by the next one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seatbeat_collector::journal::{Archive, FileJournal, INDEX, Index, Journal as _, JournalError, Position};

use super::collector::{batch, journal_in, record, records};
use super::trace::scratch;
use super::{Found, Stage, Verdict, check};
use crate::desk::text;

/// Batches before segments are moved for the first, second and third time.
const BATCHES: [u64; 3] = [24, 36, 48];

/// Segments that a start reads anyway, and that stay.
const SEGMENTS_KEPT: usize = 2;

fn archive_in(folder: &Path) -> PathBuf {
    folder.join("archive")
}

fn archive(folder: &Path) -> Arc<Archive> {
    Archive::named(text(&archive_in(folder))).expect("a whole path is a place")
}

fn move_all(journal: &FileJournal, archive: &Arc<Archive>) -> Result<u64, JournalError> {
    let archiver = journal.archiver();
    archiver.tidy()?;
    let mut moved = 0;
    while archiver.move_oldest(archive)?.is_some() {
        moved += 1;
    }
    Ok(moved)
}

fn segments_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("journal")).expect("a journal is a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name != INDEX));
    paths.sort();
    paths
}

/// Writes batches, so many in all.
fn write(journal: &mut FileJournal, batches: &mut u64, until: u64, stage: &Stage) {
    let mut size = (0..*batches).map(batch).sum::<u64>();
    while *batches < until {
        let records: Vec<_> = (size..size + batch(*batches)).map(record).collect();
        journal.append(&records).expect("there is room");
        size += records.len() as u64;
        *batches += 1;
        stage.mark(&format!("size {size}"));
    }
}

/// The object of the oldest segment as a move leaves it that is killed just before the archive's folder is synced.
fn begin_move(folder: &Path) {
    let twin = scratch();
    let twin = twin.path();
    for made in [archive_in(twin), twin.join("journal")] {
        fs::create_dir(made).expect("a folder can be made");
    }
    for path in segments_in(folder).into_iter().chain([folder.join("journal").join(INDEX)]) {
        let name = path.file_name().expect("it is a file");
        let bytes = fs::read(&path).expect("it is there");
        fs::write(twin.join("journal").join(name), bytes).expect("there is room");
    }
    let journal = journal_in(twin).expect("a copy is opened");
    let moved = journal.archiver().move_oldest(&archive(twin)).expect("it is moved").expect("there is one");
    let bytes = fs::read(archive_in(twin).join(&moved.object)).expect("it is there");
    let (aside, path) = (archive_in(folder).join("aside"), archive_in(folder).join(&moved.object));
    fs::write(&aside, bytes).expect("there is room");
    fs::File::open(&aside).and_then(|file| file.sync_all()).expect("a file can be synced");
    fs::rename(&aside, &path).expect("a name can be given");
}

fn work(stage: &Stage) {
    let folder = stage.folder();
    fs::create_dir(archive_in(folder)).expect("a folder can be made");
    fs::File::open(folder).and_then(|folder| folder.sync_all()).expect("a folder can be synced");
    stage.mark(&format!("at {}", folder.display()));
    let mut journal = journal_in(folder).expect("a journal is begun");
    let (mut batches, mut moved) = (0, 0);
    for (time, until) in BATCHES.into_iter().enumerate() {
        write(&mut journal, &mut batches, until, stage);
        if time == 1 {
            drop(journal);
            journal = journal_in(folder).expect("a journal is opened again");
        }
        if time == 2 {
            begin_move(folder);
        }
        moved += move_all(&journal, &archive(folder)).expect("all is moved");
        stage.mark(&format!("moved {moved}"));
    }
    write(&mut journal, &mut batches, BATCHES[2] + 4, stage);
}

/// What the marks amount to.
#[derive(Default)]
struct Known<'a> {
    at: &'a str,
    size: u64,
    moved: u64,
    batches: u64,
}

impl<'a> Known<'a> {
    fn by(marks: &[&'a str]) -> Self {
        let mut known = Self::default();
        for mark in marks {
            match mark.split_once(' ').expect("a mark has two words") {
                ("at", folder) => known.at = folder,
                ("size", size) => {
                    known.size = size.parse().expect("a number");
                    known.batches += 1;
                }
                (_, moved) => known.moved = moved.parse().expect("a number"),
            }
        }
        known
    }
}

/// All records, each as it was written.
fn held(journal: &FileJournal) -> Result<Vec<Vec<u8>>, String> {
    let held = records(journal).map_err(|error| format!("{error:?}"))?;
    match held.iter().zip(0..).find(|(held, number)| **held != record(*number)) {
        Some((_, number)) => Err(format!("record {number} was changed")),
        None => Ok(held),
    }
}

fn judged(found: &Found<'_>) -> Verdict {
    let known = Known::by(&found.marks);
    if known.at.is_empty() {
        return Ok("not begun");
    }
    let folder = found.folder;
    // The archive is somewhere else now, and is called so in the list.
    let list = folder.join("journal").join(INDEX);
    if let Ok(names) = fs::read_to_string(&list) {
        fs::write(&list, names.replace(known.at, text(folder))).expect("it is ours");
    }
    let index = match fs::metadata(folder.join("journal")) {
        Ok(_) => Index::load(&folder.join("journal")).map_err(|error| error.to_string())?,
        Err(_) => Index::default(),
    };
    if (index.segments.len() as u64) < known.moved {
        return Err(format!("{} segments were moved, {} are named", known.moved, index.segments.len()));
    }
    for archived in &index.segments {
        archive(folder).read(archived).map_err(|error| format!("it is named: {error}"))?;
    }
    let mut journal = match journal_in(folder) {
        Ok(journal) => journal,
        // As where nothing is moved: see the test of the journal itself.
        Err(JournalError::Damaged { .. }) if found.crash.tears_inside() => return Ok("refused"),
        Err(error) => return Err(format!("{error:?}")),
    };
    let before = held(&journal)?;
    let (size, under_way) = (before.len() as u64, batch(known.batches));
    if size < known.size || size > known.size + under_way {
        return Err(format!("{size} records, {} acknowledged, {under_way} under way", known.size));
    }
    let moved =
        move_all(&journal, &archive(folder)).map_err(|error| format!("it is not ended: {error:?}"))?;
    let next = journal.append(&[record(size)]).map_err(|error| error.to_string())?;
    drop(journal);
    let again = journal_in(folder).map_err(|error| format!("{error:?}"))?;
    let behind = held(&again)?;
    if next != Position(size) || behind.len() as u64 != size + 1 {
        return Err(format!("it does not go on: {} records behind {size}", behind.len()));
    }
    let segments = segments_in(folder);
    let named = Index::load(&folder.join("journal")).map_err(|error| error.to_string())?;
    if named.end() > Position(0) && segments.len() > SEGMENTS_KEPT + 1 {
        return Err(format!("{} segments are left: {segments:?}", segments.len()));
    }
    Ok(if moved > 0 { "moved on" } else { "whole" })
}

#[test]
fn each_record_is_read_once_while_segments_are_moved_behind_any_crash() {
    let test = "crash::archive::each_record_is_read_once_while_segments_are_moved_behind_any_crash";
    check(test, 200, work, judged);
}
