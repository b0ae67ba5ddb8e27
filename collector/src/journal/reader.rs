//! Reading records back, from any thread, while the writer goes on.
//! Invariant: only what is durable is read, and each record is checked again on its way.

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use seatbeat_proto::frame::HEADER_LENGTH;

use super::archive::{Archive, Archived};
use super::segment::{Frames, Header, Input, Next, path_of};
use super::{JournalError, Position};

/// Most bytes in one answer, so that a reader that asks for many large records stays small.
pub const READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Every so many records of a segment its place is kept in memory: eight bytes for each such run, and at most this
/// many frames are passed over to find a record.
pub const MARK_INTERVAL_RECORDS: u64 = 256;

/// What lies in which archive.
#[derive(Debug, Clone)]
pub struct InArchive {
    /// The place.
    pub archive: Arc<Archive>,
    /// The segment there.
    pub archived: Archived,
}

/// One segment, as far as it is durable.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its file.
    pub path: PathBuf,
    /// Position of its first record.
    pub first: Position,
    /// How many records it holds.
    pub records: u64,
    /// Bytes of them and of its header.
    pub bytes: u64,
    /// Whether each of its frames was read and is whole.
    pub is_checked: bool,
    /// Where it lies instead, packed; its file is gone then, or about to be.
    pub archived: Option<InArchive>,
    /// Where the records number 0, [`MARK_INTERVAL_RECORDS`], … of the segment begin; none before it was read.
    marks: Vec<u64>,
}

impl Segment {
    /// A segment with nothing but its header.
    pub fn empty(path: PathBuf, first: Position) -> Self {
        let bytes = Header::encoded_length();
        Self { path, first, records: 0, bytes, is_checked: true, archived: None, marks: Vec::new() }
    }

    /// A segment of which only the header and the length are known yet; it ends before `next`.
    pub fn unread(path: PathBuf, first: Position, next: Position, bytes: u64) -> Self {
        let records = next.0 - first.0;
        Self { path, first, records, bytes, is_checked: false, archived: None, marks: Vec::new() }
    }

    /// A segment that lies in an archive; its frames are looked at as they are fetched.
    pub fn archived(path: PathBuf, lies: InArchive) -> Self {
        let Archived { first, records, bytes, .. } = lies.archived;
        Self { path, first, records, bytes, is_checked: true, archived: Some(lies), marks: Vec::new() }
    }

    /// Notes one more record, as its frame's length.
    pub fn grow(&mut self, frame_length: u64) {
        if self.records.is_multiple_of(MARK_INTERVAL_RECORDS) {
            self.marks.push(self.bytes);
        }
        self.records += 1;
        self.bytes += frame_length;
    }

    /// The position behind its last record.
    pub fn end(&self) -> Position {
        self.first.plus(self.records)
    }

    /// A place at or a little before a record: where it is, and which record begins there.
    fn mark_before(&self, position: Position) -> (u64, Position) {
        let run = (position.0 - self.first.0) / MARK_INTERVAL_RECORDS;
        match self.marks.get(run as usize) {
            Some(mark) => (*mark, self.first.plus(run * MARK_INTERVAL_RECORDS)),
            None => (Header::encoded_length(), self.first),
        }
    }
}

/// The segments in order; the last one grows.
pub type Segments = Arc<RwLock<Vec<Segment>>>;

/// Where to go on reading.
struct Place {
    first: Position,
    path: PathBuf,
    archived: Option<InArchive>,
    offset: u64,
    position: Position,
    end: u64,
    /// The position behind the segment's last record.
    behind: Position,
}

impl Place {
    /// What should begin at a position, where this segment ends before the next one begins.
    fn missing(&self, position: Position) -> JournalError {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        JournalError::Missing { path: path_of(folder, position), next: path_of(folder, self.behind) }
    }
}

/// Reads a file journal on file handles of its own.
#[derive(Debug, Clone)]
pub struct FileReader {
    segments: Segments,
}

impl FileReader {
    pub(super) fn new(segments: Segments) -> Self {
        Self { segments }
    }

    /// The position behind the last durable record.
    pub fn size(&self) -> Position {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.last().map_or(Position(0), Segment::end)
    }

    /// Reads segments that nobody writes.
    pub(super) fn of(segments: Vec<Segment>) -> Self {
        Self::new(Arc::new(RwLock::new(segments)))
    }

    /// All segments, as far as they are durable now.
    pub fn segments(&self) -> Vec<Segment> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first record on this disk; the size where there is none.
    pub fn begins(&self) -> Position {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let here = segments.iter().find(|segment| segment.archived.is_none());
        here.or(segments.last()).map_or(Position(0), |segment| segment.first)
    }

    /// Bytes of the segments on this disk, as far as they are durable.
    pub fn bytes(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().filter(|segment| segment.archived.is_none()).map(|segment| segment.bytes).sum()
    }

    /// As [`super::Journal::read_from`].
    ///
    /// # Errors
    /// When the records cannot be read, or are no longer what was written.
    pub fn read_from(&self, from: Position, limit: usize) -> Result<Vec<(Position, Vec<u8>)>, JournalError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut next = from;
        while records.len() < limit && bytes < READ_BYTES_MAX {
            let Some(place) = self.place_of(next) else { break };
            let read = self.read_segment(&place, next, limit, &mut bytes, &mut records);
            match read {
                // It went to the archive since its place was looked up: it is looked up again.
                Err(JournalError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound
                        && place.archived.is_none()
                        && self.place_of(next).is_some_and(|place| place.archived.is_some()) =>
                {
                    continue;
                }
                read => read?,
            }
            next = from.plus(records.len() as u64);
        }
        Ok(records)
    }

    fn place_of(&self, position: Position) -> Option<Place> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let behind = segments.partition_point(|segment| segment.first <= position);
        let segment = segments.get(behind.checked_sub(1)?)?;
        if position >= segment.end() {
            return None;
        }
        let (offset, position) = segment.mark_before(position);
        let (first, path, archived) = (segment.first, segment.path.clone(), segment.archived.clone());
        let (end, behind) = (segment.bytes, segment.end());
        Some(Place { first, path, archived, offset, position, end, behind })
    }

    fn read_segment(
        &self,
        place: &Place,
        from: Position,
        limit: usize,
        bytes: &mut usize,
        records: &mut Vec<(Position, Vec<u8>)>,
    ) -> Result<(), JournalError> {
        let input: Box<dyn Input> = match &place.archived {
            Some(lies) => {
                let fetched = lies.archive.fetch(&lies.archived)?;
                self.mark(place.first, &fetched);
                Box::new(Cursor::new(fetched))
            }
            None => Box::new(File::open(&place.path).map_err(|e| JournalError::io("read", &place.path, e))?),
        };
        read_frames(place, input, from, limit, (bytes, records))
    }

    /// Notes where the records of a fetched segment are, so that the next one is found at once.
    fn mark(&self, first: Position, bytes: &[u8]) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let segment = segments.iter_mut().find(|segment| segment.first == first);
        if let Some(segment) = segment.filter(|segment| segment.marks.is_empty()) {
            segment.marks = marks_of(bytes);
        }
    }
}

/// Where the records number 0, [`MARK_INTERVAL_RECORDS`], … begin, by the lengths of the frames.
fn marks_of(bytes: &[u8]) -> Vec<u64> {
    let (mut marks, mut records, mut at) = (Vec::new(), 0_u64, Header::encoded_length() as usize);
    while let Some(length) = bytes.get(at..at + 4).and_then(|length| <[u8; 4]>::try_from(length).ok()) {
        if records.is_multiple_of(MARK_INTERVAL_RECORDS) {
            marks.push(at as u64);
        }
        records += 1;
        at += HEADER_LENGTH + u32::from_le_bytes(length) as usize;
    }
    marks
}

fn read_frames(
    place: &Place,
    input: Box<dyn Input>,
    from: Position,
    limit: usize,
    (bytes, records): (&mut usize, &mut Vec<(Position, Vec<u8>)>),
) -> Result<(), JournalError> {
    let read = |source| JournalError::Io { act: "read", path: place.path.clone(), source };
    let damaged = |offset| JournalError::Damaged {
        path: place.path.clone(),
        offset,
        what: "a record was changed or cut",
    };
    let mut frames = Frames::between(input, place.offset, place.end).map_err(read)?;
    let mut position = place.position;
    while records.len() < limit && *bytes < READ_BYTES_MAX {
        let offset = frames.offset();
        match frames.next() {
            Ok(Next::Whole(frame)) => {
                if position >= from {
                    *bytes += frame.len();
                    records.push((position, frame[HEADER_LENGTH..].to_vec()));
                }
                position = position.plus(1);
            }
            // A segment that was passed over is taken to end where the next one begins.
            Ok(Next::End) if position < place.behind => return Err(place.missing(position)),
            Ok(Next::End) => break,
            Ok(Next::Broken) => return Err(damaged(offset)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(damaged(offset)),
            Err(error) => return Err(read(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{FileJournal, Journal as _};

    #[test]
    fn marks_are_the_same_whether_a_segment_grows_or_is_fetched_and_lead_near_each_record() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = FileJournal::open(folder.path()).unwrap();
        let records: Vec<Vec<u8>> = (0..700_usize).map(|number| vec![7; number % 9]).collect();
        journal.append(&records).unwrap();
        let segment = journal.reader().segments().remove(0);
        assert_eq!(segment.marks.len(), 3);
        assert_eq!(marks_of(&std::fs::read(&segment.path).unwrap()), segment.marks);
        for (position, run) in [(0, 0), (255, 0), (256, 1), (511, 1), (699, 2)] {
            let expected = (segment.marks[run], Position(run as u64 * MARK_INTERVAL_RECORDS));
            assert_eq!(segment.mark_before(Position(position)), expected, "{position}");
        }
    }

    #[test]
    fn a_segment_that_went_away_while_it_is_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = FileJournal::open(folder.path()).unwrap();
        journal.append(&[b"record".to_vec()]).unwrap();
        std::fs::remove_file(&journal.reader().segments()[0].path).unwrap();
        let error = journal.read_from(Position(0), 1).unwrap_err();
        assert!(matches!(error, JournalError::Io { act: "read", .. }), "{error}");
    }
}
