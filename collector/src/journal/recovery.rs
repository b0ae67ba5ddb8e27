//! What a start makes of the files it finds: every frame behind what is known is read and checked, one in memory at a
//! time; those before it are checked later, while the journal is in use.
//! Invariant: nothing but a torn tail of the last segment is ever cut; anything else that is wrong stops the start, or
//! is told by the check.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::PoisonError;

use seatbeat_proto::frame::{self, Tail};

use super::archive::{Archives, INDEX, Index};
use super::disk::Disk;
use super::file::BATCH_BYTES_MAX;
use super::reader::{FileReader, Segment, Segments};
use super::scan::{Scan, header_of};
use super::segment::{Frames, Header, Link, NO_LINK, Next, path_of, position_in};
use super::{JournalError, Position};

/// A journal as it was found.
pub struct Recovered {
    pub segments: Vec<Segment>,
    /// The last segment's file, to be written on.
    pub file: File,
    /// Of the last segment so far.
    pub link: Link,
}

/// Segments at the end that are always read at the start: the last is written on, and the one before it says how its
/// header has to be.
pub const READ_ALWAYS: usize = 2;

/// Reads the segments of a folder; begins the first one where there is none. Of those that end before `known`, whose
/// records somebody has folded already, only the header and the length are looked at.
pub fn recover(folder: &Path, disk: &dyn Disk, known: Position) -> Result<Recovered, JournalError> {
    let Parts { archived: mut segments, firsts, mut header } = parts(folder)?;
    let mut link_known = true;
    let Some((&last, earlier)) = firsts.split_last() else {
        let path = path_of(folder, header.first);
        if !segments.is_empty() {
            return Err(JournalError::Missing { path, next: folder.join(INDEX) });
        }
        let (file, link) = create(folder, header, disk)?;
        segments.push(Segment::empty(path, header.first));
        return Ok(Recovered { segments, file, link });
    };
    for (at, &first) in earlier.iter().enumerate() {
        let next = firsts[at + 1];
        if next <= known && at + READ_ALWAYS < firsts.len() {
            segments.push(unread(folder, first, header.first, next)?);
            header = Header { first: next, link: NO_LINK };
            link_known = false;
            continue;
        }
        if !link_known {
            header.link = read_header(folder, first)?.link;
            link_known = true;
        }
        let found = scan_whole(folder, first, header)?;
        header = Header { first: found.segment.end(), link: found.link.finish() };
        segments.push(found.segment);
    }
    let (found, file) = scan(folder, last, header, Opened::ToWrite)?;
    let (segment, link) = mend(found, &file, header, disk)?;
    disk.sync_folder(folder).map_err(|e| JournalError::io("sync the folder", folder, e))?;
    segments.push(segment);
    Ok(Recovered { segments, file, link })
}

/// A journal that was only looked at.
#[derive(Debug)]
pub struct Inspected {
    /// Reads its records.
    pub reader: FileReader,
    /// Bytes behind the last whole record: of a write that was cut off, or is going on.
    pub torn_bytes: u64,
}

/// Reads every record of a journal and changes nothing; somebody may be writing it.
///
/// # Errors
/// When a segment is damaged, missing, not in its place or of a later format, or cannot be read.
pub fn inspect(folder: &Path) -> Result<Inspected, JournalError> {
    loop {
        let index = Index::load(folder)?;
        match look(folder) {
            // A segment went to the archive meanwhile.
            Err(_) if Index::load(folder)? != index => {}
            looked => return looked,
        }
    }
}

fn look(folder: &Path) -> Result<Inspected, JournalError> {
    let Parts { archived: mut segments, firsts, mut header } = parts(folder)?;
    if firsts.is_empty() && !segments.is_empty() {
        return Err(JournalError::Missing { path: path_of(folder, header.first), next: folder.join(INDEX) });
    }
    let mut torn_bytes = 0;
    for (at, &first) in firsts.iter().enumerate() {
        let (found, file) = scan(folder, first, header, Opened::ToRead)?;
        if found.broken {
            if at + 1 < firsts.len() {
                return Err(found.damage("a frame was changed or cut, and more segments follow"));
            }
            check_torn(&found, &file)?;
            torn_bytes = found.length - found.whole_bytes;
        }
        header = Header { first: found.segment.end(), link: found.link.finish() };
        segments.push(found.segment);
    }
    Ok(Inspected { reader: FileReader::of(segments), torn_bytes })
}

/// Reads the segments that the start passed over, and notes where their records are.
///
/// # Errors
/// When one is damaged or cannot be read; the others are as they were.
pub fn check(folder: &Path, segments: &Segments) -> Result<(), JournalError> {
    let all: Vec<(Position, Position, bool)> = {
        let segments = segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().map(|segment| (segment.first, segment.end(), segment.is_checked)).collect()
    };
    let Parts { archived, mut header, .. } = parts(folder)?;
    for (at, &(first, end, is_checked)) in all.iter().enumerate().skip(archived.len()) {
        let follows_unread = at > 0 && !all[at - 1].2;
        if is_checked && !follows_unread {
            continue;
        }
        let path = path_of(folder, first);
        if is_checked {
            let found = read_header(folder, first)?;
            if found.link != header.link {
                let what = "this segment does not continue the one before it";
                return Err(JournalError::Damaged { path, offset: 0, what });
            }
            continue;
        }
        let found = scan_whole(folder, first, header)?;
        if found.segment.end() < end {
            let path = path_of(folder, found.segment.end());
            return Err(JournalError::Missing { path, next: path_of(folder, end) });
        }
        if found.segment.end() > end {
            return Err(found.damage("the next segment begins inside this one"));
        }
        header = Header { first: end, link: found.link.finish() };
        let mut segments = segments.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = segments.get_mut(at) {
            *segment = found.segment;
        }
    }
    Ok(())
}

/// A segment that ends where the next one begins, by its header and its length.
fn unread(
    folder: &Path,
    first: Position,
    expected: Position,
    next: Position,
) -> Result<Segment, JournalError> {
    in_place(folder, first, expected)?;
    let header = read_header(folder, first)?;
    let path = path_of(folder, first);
    if header.first != first {
        let what = "this segment belongs elsewhere: its first position does not fit";
        return Err(JournalError::Damaged { path, offset: 0, what });
    }
    let length = fs::metadata(&path).map_err(|e| JournalError::io("read", &path, e))?.len();
    Ok(Segment::unread(path, first, next, length))
}

/// Whether a segment stands where the one before it ends.
fn in_place(folder: &Path, first: Position, expected: Position) -> Result<(), JournalError> {
    let path = path_of(folder, first);
    if first > expected {
        return Err(JournalError::Missing { path: path_of(folder, expected), next: path });
    }
    if first < expected {
        let what = "this segment begins inside the one before it";
        return Err(JournalError::Damaged { path, offset: 0, what });
    }
    Ok(())
}

fn read_header(folder: &Path, first: Position) -> Result<Header, JournalError> {
    let path = path_of(folder, first);
    let failed = |source| JournalError::Io { act: "read", path: path.clone(), source };
    let file = File::open(&path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut frames = Frames::between(file, 0, length).map_err(failed)?;
    match frames.next().map_err(failed)? {
        Next::Whole(frame) => header_of(frame, &path),
        Next::Broken | Next::End => {
            let what = "a frame was changed or cut, and more segments follow";
            Err(JournalError::Damaged { path: path.clone(), offset: 0, what })
        }
    }
}

/// Begins a segment; its name and its header are durable when this returns.
pub fn create(folder: &Path, header: Header, disk: &dyn Disk) -> Result<(File, Link), JournalError> {
    let path = path_of(folder, header.first);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| JournalError::io("create", &path, e))?;
    let bytes = header.encode();
    if let Err(error) = write_all_at(disk, &file, &bytes, 0) {
        // A file without a header is no segment yet: the next try begins it again.
        let _ = fs::remove_file(&path);
        return Err(JournalError::io("write", &path, error));
    }
    // From here on an error is final, whatever its kind: what the disk holds is not known.
    disk.sync_data(&file).map_err(|source| JournalError::Io { act: "sync", path, source })?;
    disk.sync_folder(folder).map_err(|source| JournalError::Io {
        act: "sync the folder",
        path: folder.into(),
        source,
    })?;
    Ok((file, Link::new(&bytes)))
}

/// Writes all of the bytes, in as many pieces as the disk takes them.
pub fn write_all_at(disk: &dyn Disk, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match disk.write_at(file, &bytes[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a folder holds.
struct Parts {
    /// What lies in archives, as far as it is not here as well.
    archived: Vec<Segment>,
    /// Where the segments begin that lie here.
    firsts: Vec<Position>,
    /// The header of the first of them.
    header: Header,
}

fn parts(folder: &Path) -> Result<Parts, JournalError> {
    let mut index = Index::load(folder)?;
    let mut header = index.header_behind()?;
    let firsts = list(folder, header.first)?;
    // One that reaches over the archives' end goes on from what is not here any more: it says itself from what.
    if let Some(&first) = firsts.first().filter(|first| **first < header.first) {
        header = Header { first, link: read_header(folder, first)?.link };
        index.cut(first);
    }
    Ok(Parts { archived: Archives::default().segments(folder, index.segments)?, firsts, header })
}

/// How many of these segments lie in archives as a whole, which end at `end`. The last one that begins before reaches
/// over that where the next one begins behind it: a copy of a database has other segments than its archives.
pub fn moved_of(firsts: &[Position], end: Position) -> usize {
    let before = firsts.partition_point(|first| *first < end);
    let reaches_over = firsts.get(before).is_some_and(|next| *next > end);
    before.saturating_sub(usize::from(reaches_over))
}

/// Where the segments begin that lie in the folder. Those that end before `from` are in an archive already: a move there
/// that was cut off has left them.
fn list(folder: &Path, from: Position) -> Result<Vec<Position>, JournalError> {
    let failed = |source| JournalError::Io { act: "list", path: folder.into(), source };
    let mut firsts = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        match name.to_str().and_then(position_in) {
            Some(first) => firsts.push(first),
            None if name == INDEX => {}
            None => {
                tracing::warn!(file = ?name, folder = %folder.display(), "no journal segment, left alone")
            }
        }
    }
    firsts.sort_unstable();
    let moved = moved_of(&firsts, from);
    Ok(firsts.split_off(moved))
}

/// What a segment is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// Only the last one is written on.
    ToWrite,
    /// The others stay as they are.
    ToRead,
}

/// The segment that begins at a position, with its file; `expected` is the header that fits behind the one before.
fn scan(
    folder: &Path,
    first: Position,
    expected: Header,
    opened: Opened,
) -> Result<(Scan, File), JournalError> {
    in_place(folder, first, expected.first)?;
    let path = path_of(folder, first);
    let failed = |source| JournalError::Io { act: "read", path: path.clone(), source };
    let writes = opened == Opened::ToWrite;
    let file = OpenOptions::new().read(true).write(writes).open(&path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let input = file.try_clone().map_err(failed)?;
    let scan = Scan::of(Segment::empty(path.clone(), first), input, length, Some(expected))?;
    Ok((scan, file))
}

/// A segment that others follow: all of it is frames.
fn scan_whole(folder: &Path, first: Position, expected: Header) -> Result<Scan, JournalError> {
    scan(folder, first, expected, Opened::ToRead)?.0.whole()
}

/// Cuts the last segment's torn tail, and makes what was found durable: a process that was killed may have
/// left whole frames that no sync covered yet, and they are about to be relied upon.
fn mend(
    mut found: Scan,
    file: &File,
    header: Header,
    disk: &dyn Disk,
) -> Result<(Segment, Link), JournalError> {
    if found.broken {
        check_torn(&found, file)?;
        tracing::warn!(
            path = %found.segment.path.display(),
            keep = found.whole_bytes,
            cut = found.length - found.whole_bytes,
            "cut a record that was never finished off the journal"
        );
    }
    let path = found.segment.path.clone();
    let failed = |act| move |source| JournalError::Io { act, path, source };
    if found.broken {
        disk.set_length(file, found.whole_bytes).map_err(failed.clone()("cut"))?;
    }
    if found.whole_bytes == 0 {
        let bytes = header.encode();
        write_all_at(disk, file, &bytes, 0).map_err(failed.clone()("write"))?;
        found.link = Link::new(&bytes);
    }
    disk.sync_data(file).map_err(failed("sync"))?;
    Ok((found.segment, found.link))
}

/// A torn tail is no longer than one batch, and nothing whole stands in it.
fn check_torn(found: &Scan, file: &File) -> Result<(), JournalError> {
    let damaged = || found.damage("a record was changed; it is not the end of an unfinished write");
    let rest = usize::try_from(found.length - found.whole_bytes).map_err(|_| damaged())?;
    if rest > BATCH_BYTES_MAX {
        return Err(damaged());
    }
    let mut bytes = vec![0; rest];
    let path = &found.segment.path;
    file.read_exact_at(&mut bytes, found.whole_bytes).map_err(|e| JournalError::io("read", path, e))?;
    match frame::tail(&bytes, 0) {
        Tail::Damaged { .. } => Err(damaged()),
        Tail::Clean | Tail::Torn { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::disk::faults::FaultyDisk;
    use crate::journal::{FileJournal, Journal};

    const SEGMENT_BYTES_MAX: u64 = 150;

    fn open(folder: &Path) -> Result<FileJournal, JournalError> {
        FileJournal::open_on(folder, Arc::<FaultyDisk>::default(), SEGMENT_BYTES_MAX)
    }

    fn all(journal: &FileJournal) -> Vec<Vec<u8>> {
        journal.read_from(Position(0), usize::MAX).unwrap().into_iter().map(|(_, record)| record).collect()
    }

    /// A journal of several segments, the last with three records; its records, and its segments in order.
    fn written(folder: &Path) -> (Vec<Vec<u8>>, Vec<std::path::PathBuf>) {
        let records: Vec<_> = (0..11u8).map(|number| vec![number; 12 + usize::from(number) % 3]).collect();
        let mut journal = open(folder).unwrap();
        for record in &records {
            journal.append(std::slice::from_ref(record)).unwrap();
        }
        let segments: Vec<_> =
            list(folder, Position(0)).unwrap().iter().map(|&first| path_of(folder, first)).collect();
        assert!(segments.len() > 2);
        (records, segments)
    }

    /// Where the frames of a segment begin and end.
    fn bounds(path: &Path) -> Vec<u64> {
        let file = File::open(path).unwrap();
        let length = file.metadata().unwrap().len();
        let mut frames = Frames::between(file, 0, length).unwrap();
        let mut bounds = vec![0];
        while let Next::Whole(_) = frames.next().unwrap() {
            bounds.push(frames.offset());
        }
        bounds
    }

    #[test]
    fn segments_before_what_is_known_are_passed_over_at_the_start_and_checked_later() {
        let folder = tempfile::tempdir().unwrap();
        let (records, segments) = written(folder.path());
        let known = Position(records.len() as u64);
        let open = || {
            FileJournal::open_on_behind(folder.path(), Arc::<FaultyDisk>::default(), SEGMENT_BYTES_MAX, known)
        };
        let journal = open().unwrap();
        assert_eq!(all(&journal), records, "records of segments that were not read yet are found");
        journal.check().check().unwrap();
        assert_eq!(all(&journal), records);
        drop(journal);
        let whole = fs::read(&segments[0]).unwrap();
        for at in [20, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&segments[0], &damaged).unwrap();
            assert!(FileJournal::open(folder.path()).is_err(), "byte {at} stops a start that knows nothing");
            let told = open().and_then(|journal| journal.check().check());
            assert!(matches!(told, Err(JournalError::Damaged { .. })), "byte {at}: {told:?}");
        }
        fs::write(&segments[0], &whole[..bounds(&segments[0])[1] as usize]).unwrap();
        assert!(open().unwrap().check().check().is_err(), "a record is gone");
        fs::write(&segments[0], &whole).unwrap();
        fs::remove_file(&segments[1]).unwrap();
        assert!(matches!(open().unwrap().check().check(), Err(JournalError::Missing { .. })));
    }

    #[test]
    fn the_last_segment_cut_at_any_byte_reopens_with_exactly_its_whole_records() {
        let folder = tempfile::tempdir().unwrap();
        let (records, segments) = written(folder.path());
        let last = segments.last().unwrap();
        let (bytes, bounds) = (fs::read(last).unwrap(), bounds(last));
        for cut in 0..=bytes.len() {
            fs::write(last, &bytes[..cut]).unwrap();
            let lost = bounds[1..].iter().filter(|&&end| end > cut as u64).count().min(bounds.len() - 2);
            let kept = &records[..records.len() - lost];
            let mut journal = open(folder.path()).unwrap();
            assert_eq!(all(&journal), kept, "cut at {cut}");
            journal.append(&[b"next".to_vec()]).unwrap();
            drop(journal);
            assert_eq!(
                all(&open(folder.path()).unwrap()),
                [kept, &[b"next".to_vec()]].concat(),
                "cut at {cut}"
            );
            for alien in
                list(folder.path(), Position(0)).unwrap().iter().map(|&first| path_of(folder.path(), first))
            {
                if !segments.contains(&alien) {
                    fs::remove_file(alien).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_before_the_last_record_stops_the_start_and_names_file_and_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (_, segments) = written(folder.path());
        for segment in &segments {
            let (bytes, bounds) = (fs::read(segment).unwrap(), bounds(segment));
            let last = segment == segments.last().unwrap();
            let end = if last { bounds[bounds.len() - 2] } else { bytes.len() as u64 };
            for byte in 0..end {
                let mut damaged = bytes.clone();
                damaged[byte as usize] ^= 1 << (byte % 8);
                fs::write(segment, &damaged).unwrap();
                let begins = *bounds.iter().rfind(|&&begin| begin <= byte).unwrap();
                match open(folder.path()).err() {
                    Some(JournalError::Damaged { path, offset, .. }) => {
                        assert_eq!((&path, offset), (segment, begins), "byte {byte}");
                    }
                    other => panic!("byte {byte} of {}: {other:?}", segment.display()),
                }
                assert_eq!(fs::read(segment).unwrap(), damaged, "a refused start changes nothing");
            }
            fs::write(segment, &bytes).unwrap();
        }
        open(folder.path()).unwrap();
    }

    #[test]
    fn a_segment_cut_before_the_last_one_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let (_, segments) = written(folder.path());
        let bytes = fs::read(&segments[1]).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&segments[1], &bytes[..cut]).unwrap();
            assert!(open(folder.path()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_missing_segment_stops_the_start_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (_, segments) = written(folder.path());
        for (missing, next) in segments.iter().zip(&segments[1..]) {
            let aside = folder.path().join("aside");
            fs::rename(missing, &aside).unwrap();
            match open(folder.path()).err() {
                Some(JournalError::Missing { path, next: found }) => {
                    assert_eq!((&path, &found), (missing, next))
                }
                other => panic!("{other:?}"),
            }
            fs::rename(&aside, missing).unwrap();
        }
    }

    #[test]
    fn a_segment_of_another_journal_or_in_another_place_stops_the_start() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (records, segments) = written(folder.path());
        let mut alien = open(other.path()).unwrap();
        for record in &records {
            alien.append(&[record.iter().map(|byte| byte ^ 1).collect()]).unwrap();
        }
        drop(alien);
        let own = fs::read(&segments[1]).unwrap();
        let from_other = fs::read(other.path().join(segments[1].file_name().unwrap())).unwrap();
        let from_elsewhere = fs::read(&segments[2]).unwrap();
        assert_eq!(own.len(), from_other.len());
        for bytes in [from_other, from_elsewhere] {
            fs::write(&segments[1], bytes).unwrap();
            let error = open(folder.path()).err().unwrap();
            assert!(matches!(error, JournalError::Damaged { .. }) && error.hint().is_some(), "{error}");
        }
        fs::write(&segments[1], own).unwrap();
        open(folder.path()).unwrap();
    }

    #[test]
    fn a_later_format_stops_the_start_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        frame::append(&mut bytes, b"seatbeat journal\x07\0\0\0whatever comes then").unwrap();
        fs::write(path_of(folder.path(), Position(0)), &bytes).unwrap();
        let error = open(folder.path()).err().unwrap();
        assert!(matches!(error, JournalError::NewerFormat { found: 7, known: 1, .. }), "{error}");
    }

    #[test]
    fn a_tail_longer_than_any_batch_is_no_unfinished_write() {
        let folder = tempfile::tempdir().unwrap();
        let (_, segments) = written(folder.path());
        let last = OpenOptions::new().write(true).open(segments.last().unwrap()).unwrap();
        let length = last.metadata().unwrap().len();
        last.set_len(length + BATCH_BYTES_MAX as u64 + 1).unwrap();
        assert!(
            matches!(open(folder.path()).err(), Some(JournalError::Damaged { offset, .. }) if offset == length)
        );
        last.set_len(length + 4096).unwrap();
        open(folder.path()).unwrap();
        assert_eq!(last.metadata().unwrap().len(), length);
    }

    #[test]
    fn a_look_tells_a_torn_tail_from_damage_and_changes_neither() {
        let folder = tempfile::tempdir().unwrap();
        let (records, segments) = written(folder.path());
        let append = |path: &Path, bytes: &[u8]| {
            let whole = fs::read(path).unwrap();
            fs::write(path, [whole.as_slice(), bytes].concat()).unwrap();
            whole
        };
        let last = segments.last().unwrap();
        append(last, b"torn");
        let inspected = inspect(folder.path()).unwrap();
        let read = inspected.reader.read_from(Position(0), usize::MAX).unwrap();
        assert!(read.iter().map(|(_, record)| record).eq(&records));
        assert_eq!(
            (inspected.torn_bytes, &fs::read(last).unwrap()[bounds(last).pop().unwrap() as usize..]),
            (4, b"torn".as_slice())
        );
        for segment in &segments[..segments.len() - 1] {
            let whole = append(segment, b"torn");
            let error = inspect(folder.path()).unwrap_err();
            assert!(matches!(&error, JournalError::Damaged { path, .. } if path == segment), "{error}");
            fs::write(segment, whole).unwrap();
        }
    }

    #[test]
    fn what_a_killed_process_left_unsynced_is_synced_before_it_is_relied_upon() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        let disk = Arc::<FaultyDisk>::default();
        disk.sync_fails.store(true, std::sync::atomic::Ordering::SeqCst);
        let error = FileJournal::open_on(folder.path(), disk, SEGMENT_BYTES_MAX).err().unwrap();
        assert!(matches!(error, JournalError::Io { act: "sync", .. }), "{error}");
    }

    #[test]
    fn a_missing_segment_that_was_passed_over_is_named_to_whoever_reads_there() {
        let folder = tempfile::tempdir().unwrap();
        let (records, segments) = written(folder.path());
        fs::remove_file(&segments[1]).unwrap();
        let (disk, known) = (Arc::<FaultyDisk>::default(), Position(records.len() as u64));
        let journal = FileJournal::open_on_behind(folder.path(), disk, SEGMENT_BYTES_MAX, known).unwrap();
        let first = position_in(segments[1].file_name().unwrap().to_str().unwrap()).unwrap();
        match journal.read_from(first, 1).unwrap_err() {
            JournalError::Missing { path, next } => assert_eq!((&path, &next), (&segments[1], &segments[2])),
            other => panic!("{other:?}"),
        }
        assert_eq!(journal.read_from(Position(0), first.0 as usize).unwrap().len() as u64, first.0);
    }
}
