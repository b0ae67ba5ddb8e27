//! Journals whose old segments are moved away. Invariant: each is read back record by record, before and behind a
//! restart, whatever the move was cut off by.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::archive::INDEX;
use super::super::{FileJournal, Journal as _, LocalDisk, Position, inspect};
use super::*;
use crate::distributor::independent::{SCRIPTS, python, skip};

/// So many records a segment, more or less.
const SEGMENT_BYTES: u64 = 700;

struct Desk {
    folder: tempfile::TempDir,
    journal: FileJournal,
    written: Vec<Vec<u8>>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("archive")).unwrap();
        let journal = open(folder.path());
        let mut desk = Self { folder, journal, written: Vec::new() };
        desk.write(60);
        desk
    }

    fn write(&mut self, count: usize) {
        for _ in 0..count {
            let record = format!("record {:04} {}", self.written.len(), "x".repeat(40)).into_bytes();
            self.journal.append(std::slice::from_ref(&record)).unwrap();
            self.written.push(record);
        }
    }

    fn archive(&self) -> Arc<Archive> {
        Archive::named(self.folder.path().join("archive").to_str().unwrap()).unwrap()
    }

    fn move_all(&self) -> usize {
        let (archiver, archive) = (self.journal.archiver(), self.archive());
        std::iter::from_fn(|| archiver.move_oldest(&archive).unwrap()).count()
    }

    fn files(&self) -> Vec<String> {
        names(&self.folder.path().join("journal"))
    }

    fn restart(self) -> Self {
        let Self { folder, journal, written } = self;
        drop(journal);
        Self { journal: open(folder.path()), folder, written }
    }

    fn check(&self) {
        assert_eq!(self.journal.size().0, self.written.len() as u64);
        for from in 0..self.written.len() {
            let read = self.journal.read_from(Position(from as u64), 2).unwrap();
            let read: Vec<&Vec<u8>> = read.iter().map(|(_, record)| record).collect();
            let expected: Vec<&Vec<u8>> = self.written[from..].iter().take(2).collect();
            assert_eq!(read, expected, "from {from}");
        }
    }
}

fn open(folder: &Path) -> FileJournal {
    FileJournal::open_on(&folder.join("journal"), Arc::new(LocalDisk), SEGMENT_BYTES).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_moved_is_read_as_before_and_behind_a_restart_and_writing_goes_on() {
    let mut desk = Desk::new();
    let before = desk.files().len();
    let moved = desk.move_all();
    assert_eq!((moved, desk.files().len()), (before - READ_ALWAYS, READ_ALWAYS + 1), "{:?}", desk.files());
    assert_eq!(names(&desk.folder.path().join("archive")).len(), moved);
    desk.check();
    desk.write(30);
    let mut desk = desk.restart();
    desk.check();
    assert!(desk.move_all() > 0, "what was written behind is moved, too");
    desk.write(1);
    let desk = desk.restart();
    desk.check();
    desk.journal.check().check().unwrap();
    let inspected = inspect(&desk.folder.path().join("journal")).unwrap();
    assert_eq!((inspected.reader.size(), inspected.torn_bytes), (desk.journal.size(), 0));
}

#[test]
fn a_start_that_knows_them_reads_no_segment_of_the_archive() {
    let desk = Desk::new();
    desk.move_all();
    let Desk { folder, journal, written } = desk;
    drop(journal);
    fs::rename(folder.path().join("archive"), folder.path().join("away")).unwrap();
    let path = folder.path().join("journal");
    let journal = FileJournal::open_on_behind(
        &path,
        Arc::new(LocalDisk),
        SEGMENT_BYTES,
        Position(written.len() as u64),
    )
    .unwrap();
    let last = Position(written.len() as u64 - 1);
    assert_eq!(journal.read_from(last, 1).unwrap().len(), 1);
    let error = journal.read_from(Position(0), 1).unwrap_err();
    assert!(error.to_string().contains("archive") && error.hint().is_some(), "{error}");
    fs::rename(folder.path().join("away"), folder.path().join("archive")).unwrap();
    Desk { folder, journal, written }.check();
}

#[test]
fn readers_find_each_record_while_segments_are_moved() {
    let desk = Desk::new();
    let (reader, written) = (desk.journal.reader(), &desk.written);
    let (archiver, archive) = (desk.journal.archiver(), desk.archive());
    let path = desk.folder.path().join("journal");
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let read = reader.read_from(Position(0), usize::MAX).unwrap();
                        assert!(read.iter().map(|(_, record)| record).eq(written));
                    }
                    for _ in 0..50 {
                        assert_eq!(inspect(&path).unwrap().reader.size(), reader.size());
                    }
                })
            })
            .collect();
        while archiver.move_oldest(&archive).unwrap().is_some() {}
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_disk_that_is_not_mounted_takes_nothing_once_something_lies_on_it() {
    let desk = Desk::new();
    assert!(desk.journal.archiver().move_oldest(&desk.archive()).unwrap().is_some());
    let (mounted, away) = (desk.folder.path().join("archive"), desk.folder.path().join("away"));
    fs::rename(&mounted, &away).unwrap();
    fs::create_dir(&mounted).unwrap();
    let error = desk.journal.archiver().move_oldest(&desk.archive()).unwrap_err();
    assert!(error.hint().is_some() && names(&mounted).is_empty(), "{error}");
    fs::remove_dir(&mounted).unwrap();
    fs::rename(&away, &mounted).unwrap();
    desk.check();
}

#[test]
fn a_store_whose_last_segments_are_gone_does_not_start() {
    let desk = Desk::new();
    desk.move_all();
    let path = desk.folder.path().join("journal");
    let Desk { folder, journal, .. } = desk;
    drop(journal);
    for name in names(&path).iter().filter(|name| *name != INDEX) {
        fs::remove_file(path.join(name)).unwrap();
    }
    let error = FileJournal::open_on(&path, Arc::new(LocalDisk), SEGMENT_BYTES).err().unwrap();
    assert!(matches!(error, JournalError::Missing { .. }) && error.hint().is_some(), "{error}");
    assert!(matches!(inspect(&path), Err(JournalError::Missing { .. })));
    drop(folder);
}

#[test]
fn a_move_that_is_cut_off_behind_its_index_is_ended_by_the_next_one() {
    let desk = Desk::new();
    let path = desk.folder.path().join("journal");
    let (first, kept) = (path.join(&desk.files()[0]), desk.folder.path().join("kept"));
    fs::copy(&first, &kept).unwrap();
    assert!(desk.journal.archiver().move_oldest(&desk.archive()).unwrap().is_some());
    fs::copy(&kept, &first).unwrap();
    let desk = desk.restart();
    desk.check();
    assert!(first.exists());
    desk.move_all();
    assert!(!first.exists());
    desk.restart().check();
}

#[test]
fn a_move_that_is_cut_off_before_its_index_leaves_the_segment_where_it_is() {
    let desk = Desk::new();
    let path = desk.folder.path().join("journal");
    let first = path.join(&desk.files()[0]);
    let kept = fs::read(&first).unwrap();
    assert!(desk.journal.archiver().move_oldest(&desk.archive()).unwrap().is_some());
    fs::remove_file(path.join(INDEX)).unwrap();
    fs::write(&first, kept).unwrap();
    let desk = desk.restart();
    desk.check();
    assert!(desk.move_all() > 0);
    desk.check();
}

#[test]
fn a_segment_that_lies_there_packed_otherwise_is_known_by_that_length() {
    let desk = Desk::new();
    let path = desk.folder.path().join("journal");
    let first = path.join(&desk.files()[0]);
    let kept = fs::read(&first).unwrap();
    let archived = desk.journal.archiver().move_oldest(&desk.archive()).unwrap().unwrap();
    let object = desk.folder.path().join("archive").join(&archived.object);
    let mut packed = GzEncoder::new(Vec::new(), Compression::none());
    packed.write_all(&kept).unwrap();
    let packed = packed.finish().unwrap();
    assert_ne!(packed.len() as u64, archived.packed);
    fs::write(&object, &packed).unwrap();
    fs::remove_file(path.join(INDEX)).unwrap();
    fs::write(&first, kept).unwrap();
    let desk = desk.restart();
    let again = desk.journal.archiver().move_oldest(&desk.archive()).unwrap().unwrap();
    assert_eq!(again, Archived { packed: packed.len() as u64, ..archived });
    desk.archive().look(&again).unwrap();
    assert_eq!(fs::read(&object).unwrap(), packed, "it is not written again");
    desk.check();
}

#[test]
fn an_object_that_was_changed_cut_or_swapped_is_refused_by_name() {
    let desk = Desk::new();
    let moved = desk.move_all();
    let archive = desk.folder.path().join("archive");
    let objects = names(&archive);
    let whole: Vec<Vec<u8>> = objects.iter().map(|name| fs::read(archive.join(name)).unwrap()).collect();
    let desk = desk.restart();
    for (change, bytes) in [
        ("cut", whole[0][..whole[0].len() / 2].to_vec()),
        ("swapped", whole[1].clone()),
        ("emptied", Vec::new()),
        ("flipped", whole[0].iter().enumerate().map(|(at, b)| if at == 30 { b ^ 1 } else { *b }).collect()),
    ] {
        fs::write(archive.join(&objects[0]), bytes).unwrap();
        let error = desk.journal.read_from(Position(0), 1).unwrap_err();
        assert!(error.to_string().contains(&objects[0]) && error.hint().is_some(), "{change}: {error}");
    }
    fs::write(archive.join(&objects[0]), &whole[0]).unwrap();
    desk.check();
    assert!(moved >= 2);
}

#[test]
fn a_damaged_segment_is_not_moved_and_a_place_that_takes_nothing_loses_nothing() {
    let desk = Desk::new();
    let first = desk.folder.path().join("journal").join(&desk.files()[0]);
    let mut bytes = fs::read(&first).unwrap();
    let whole = bytes.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&first, &bytes).unwrap();
    let error = desk.journal.archiver().move_oldest(&desk.archive()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    fs::write(&first, whole).unwrap();
    let archive = desk.archive();
    fs::remove_dir_all(desk.folder.path().join("archive")).unwrap();
    fs::write(desk.folder.path().join("archive"), "a file").unwrap();
    assert!(desk.journal.archiver().move_oldest(&archive).is_err());
    desk.check();
    desk.restart().check();
}

#[test]
fn an_index_that_was_changed_stops_the_start() {
    let desk = Desk::new();
    desk.move_all();
    let path = desk.folder.path().join("journal");
    let text = fs::read_to_string(path.join(INDEX)).unwrap();
    let Desk { folder, journal, .. } = desk;
    drop(journal);
    for (from, to) in [
        ("\"format\": 1", "\"format\": 2"),
        ("\"first\": 0", "\"first\": 1"),
        ("{", "["),
        ("\"link\": \"", "\"link\": \"x"),
    ] {
        assert!(text.contains(from));
        fs::write(path.join(INDEX), text.replacen(from, to, 1)).unwrap();
        let error = FileJournal::open_on(&path, Arc::new(LocalDisk), SEGMENT_BYTES).err().unwrap();
        assert!(error.to_string().contains(INDEX) && error.hint().is_some(), "{from}: {error}");
    }
    fs::remove_file(path.join(INDEX)).unwrap();
    let error = FileJournal::open_on(&path, Arc::new(LocalDisk), SEGMENT_BYTES).err().unwrap();
    assert!(matches!(error, JournalError::Missing { .. }), "{error}");
    drop(folder);
}

#[test]
fn storage_that_speaks_s3_keeps_them_as_a_folder_does() {
    let Some(python) = python("moto.server") else {
        return skip(
            "moto",
            "pip install 'moto[s3,server]', and name that Python's folder in SEATBEAT_PYTHON",
        );
    };
    let mut storage = Command::new(python)
        .arg(Path::new(SCRIPTS).join("s3.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(storage.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let open = |bucket: &str| {
        let variables = [
            ("aws_endpoint", format!("http://127.0.0.1:{}", port.trim())),
            ("aws_allow_http", "true".to_owned()),
            ("aws_region", "us-east-1".to_owned()),
            ("aws_access_key_id", "who".to_owned()),
            ("aws_secret_access_key", "secret".to_owned()),
            // Anybody's, and nothing to do with it.
            ("ENDPOINT", "http://127.0.0.1:1".to_owned()),
            ("TOKEN", "another".to_owned()),
        ];
        let to = format!("s3://{bucket}/of/a/reseller");
        Archive::named_with(&to, variables.into_iter().map(|(name, value)| (name.to_owned(), value))).unwrap()
    };
    let desk = Desk::new();
    let archiver = desk.journal.archiver();
    let error = archiver.move_oldest(&open("elsewhere")).unwrap_err();
    assert!(error.to_string().contains("s3://elsewhere") && error.hint().is_some(), "{error}");
    let archive = open("evidence");
    let moved = std::iter::from_fn(|| archiver.move_oldest(&archive).unwrap()).count();
    assert_eq!(desk.files().len(), READ_ALWAYS + 1);
    assert!(moved > 2);
    desk.check();
    drop(storage.stdin.take());
    assert!(storage.wait().unwrap().success());
}

#[test]
fn a_place_is_a_whole_path_or_a_bucket() {
    for place in ["archive", "./archive", "", "s3://", "s3:///x"] {
        let error = Archive::named(place).unwrap_err();
        assert!(matches!(error, ArchiveError::Place(_)) && error.hint().is_some(), "{place}: {error}");
        assert!(!Archive::is_place(place), "{place}");
    }
    for place in ["/archive", "s3://bucket", "s3://bucket/of/a/reseller"] {
        assert!(Archive::is_place(place), "{place}");
    }
    let desk = Desk::new();
    let error =
        desk.journal.archiver().move_oldest(&Archive::named("/nobody/has/this/folder").unwrap()).unwrap_err();
    assert!(error.to_string().contains("/nobody/has/this/folder") && error.hint().is_some(), "{error}");
    desk.check();
}

/// The index of the same records in an archive of other segments, which ends before a record.
fn archived_elsewhere(desk: &Desk, segment_bytes_max: u64, before: usize) -> Index {
    let folder = desk.folder.path().join(format!("other {segment_bytes_max}"));
    let mut other = FileJournal::open_on(&folder, Arc::new(LocalDisk), segment_bytes_max).unwrap();
    for record in &desk.written {
        other.append(std::slice::from_ref(record)).unwrap();
    }
    let (archiver, archive) = (other.archiver(), desk.archive());
    while archiver.oldest().is_some_and(|oldest| oldest.end().0 <= before as u64) {
        archiver.move_oldest(&archive).unwrap();
    }
    Index::load(&folder).unwrap()
}

#[test]
fn a_copy_makes_room_for_what_lies_in_an_archive_in_other_segments() {
    for segment_bytes_max in [90, 300, 1100] {
        let mut desk = Desk::new();
        let before = desk.journal.reader().segments();
        let index = archived_elsewhere(&desk, segment_bytes_max, 37);
        let end = index.end();
        assert!(end > Position(25) && before.iter().all(|segment| segment.end() != end));
        assert!(desk.journal.archiver().follow(&index).unwrap());
        let segments = desk.journal.reader().segments();
        assert!(segments.is_sorted_by(|one, next| one.first < next.first), "{segments:?}");
        let begins = desk.journal.reader().begins();
        assert!(begins > Position(0) && begins < end, "{segment_bytes_max}: {begins}, {end}");
        desk.check();
        desk.write(30);
        let mut desk = desk.restart();
        desk.check();
        assert_eq!(desk.journal.reader().begins(), begins);
        assert_eq!(inspect(&desk.folder.path().join("journal")).unwrap().reader.size(), desk.journal.size());
        let Desk { folder, journal, written } = desk;
        drop(journal);
        let (path, known) = (folder.path().join("journal"), Position(written.len() as u64));
        let journal = FileJournal::open_on_behind(&path, Arc::new(LocalDisk), SEGMENT_BYTES, known).unwrap();
        assert!(!journal.archiver().follow(&index).unwrap(), "not before all is checked");
        journal.check().check().unwrap();
        desk = Desk { folder, journal, written };
        desk.check();
        // As a journal of its own again, it moves what is left.
        assert!(desk.move_all() > 0);
        desk.check();
        desk.restart().check();
    }
}

#[test]
fn a_copy_keeps_the_segments_that_each_start_reads_and_no_others() {
    let desk = Desk::new();
    let segments = desk.journal.reader().segments();
    let begin = segments[segments.len() - READ_ALWAYS].first;
    let index = archived_elsewhere(&desk, SEGMENT_BYTES, desk.written.len());
    assert_eq!(index.end(), begin);
    assert!(desk.journal.archiver().follow(&index).unwrap());
    assert_eq!(desk.journal.reader().begins(), begin);
    assert_eq!(desk.files().len(), READ_ALWAYS + 1);
    desk.restart().check();
}

#[test]
fn a_copy_keeps_what_no_archive_has_and_what_it_cannot_see_there() {
    let desk = Desk::new();
    let files = desk.files();
    let stays = |index: &Index| {
        assert!(!desk.journal.archiver().follow(index).unwrap());
        assert_eq!(desk.files(), files);
    };
    stays(&Index::default());
    let index = archived_elsewhere(&desk, 300, 40);
    let (archive, away) = (desk.folder.path().join("archive"), desk.folder.path().join("away"));
    fs::rename(&archive, &away).unwrap();
    let error = desk.journal.archiver().follow(&index).unwrap_err();
    assert!(error.to_string().contains("archive") && error.hint().is_some(), "{error}");
    assert_eq!(desk.files(), files);
    fs::rename(&away, &archive).unwrap();
    // Cut off between the index and the files.
    let kept = tempfile::tempdir().unwrap();
    for name in &files {
        fs::copy(desk.folder.path().join("journal").join(name), kept.path().join(name)).unwrap();
    }
    assert!(desk.journal.archiver().follow(&index).unwrap());
    let after = desk.files();
    for name in &files {
        fs::copy(kept.path().join(name), desk.folder.path().join("journal").join(name)).unwrap();
    }
    let desk = desk.restart();
    desk.check();
    desk.journal.archiver().tidy().unwrap();
    assert_eq!(desk.files(), after);
    desk.check();
    let first = desk.files().remove(0);
    fs::remove_file(desk.folder.path().join("journal").join(first)).unwrap();
    let Desk { folder, journal, .. } = desk;
    drop(journal);
    let error = FileJournal::open_on(&folder.path().join("journal"), Arc::new(LocalDisk), SEGMENT_BYTES)
        .err()
        .unwrap();
    assert!(matches!(error, JournalError::Missing { .. }), "{error}");
}
