//! One segment read from its beginning. Invariant: every frame up to the end that is told was looked at, and the header
//! says what the file's place asks for.

use std::path::Path;

use seatbeat_proto::frame::HEADER_LENGTH;

use super::JournalError;
use super::reader::Segment;
use super::segment::{FORMAT, Frames, Header, HeaderError, Input, Link, Next};

/// One segment, read up to its end or to what is no whole frame.
pub struct Scan {
    pub segment: Segment,
    pub link: Link,
    /// Of whole frames: 0 when not even the header is one.
    pub whole_bytes: u64,
    /// Of all.
    pub length: u64,
    pub broken: bool,
}

impl Scan {
    /// Reads a segment of which nothing is known but its place. `expected` is the header that fits behind the segment
    /// before; without one, any is taken.
    pub fn of(
        segment: Segment,
        input: impl Input,
        length: u64,
        expected: Option<Header>,
    ) -> Result<Self, JournalError> {
        let path = segment.path.clone();
        let failed = |source| JournalError::Io { act: "read", path: path.clone(), source };
        let mut frames = Frames::between(input, 0, length).map_err(failed)?;
        let mut scan = Self { segment, link: Link::new(&[]), whole_bytes: 0, length, broken: false };
        loop {
            match frames.next().map_err(failed)? {
                Next::Whole(frame) => scan.take(frame, expected)?,
                Next::End => return Ok(scan),
                Next::Broken => {
                    scan.broken = true;
                    return Ok(scan);
                }
            }
        }
    }

    fn take(&mut self, frame: &[u8], expected: Option<Header>) -> Result<(), JournalError> {
        if self.whole_bytes > 0 {
            self.segment.grow(frame.len() as u64);
            self.link.add(frame);
        } else {
            let header = header_of(frame, &self.segment.path)?;
            if header.first != self.segment.first || expected.is_some_and(|e| e.first != header.first) {
                return Err(self.damage("this segment belongs elsewhere: its first position does not fit"));
            }
            if expected.is_some_and(|expected| expected.link != header.link) {
                return Err(self.damage("this segment does not continue the one before it"));
            }
            self.link = Link::new(frame);
        }
        self.whole_bytes += frame.len() as u64;
        Ok(())
    }

    /// As a segment that others follow has to be.
    pub fn whole(self) -> Result<Self, JournalError> {
        if self.broken {
            return Err(self.damage("a frame was changed or cut, and more segments follow"));
        }
        Ok(self)
    }

    /// What is wrong behind the last whole frame.
    pub fn damage(&self, what: &'static str) -> JournalError {
        JournalError::Damaged { path: self.segment.path.clone(), offset: self.whole_bytes, what }
    }
}

/// The header that a segment's first frame is.
pub fn header_of(frame: &[u8], path: &Path) -> Result<Header, JournalError> {
    Header::decode(&frame[HEADER_LENGTH..]).map_err(|error| match error {
        HeaderError::Newer(found) => JournalError::NewerFormat { path: path.into(), found, known: FORMAT },
        HeaderError::Alien => {
            JournalError::Damaged { path: path.into(), offset: 0, what: "no header of a journal segment" }
        }
    })
}
