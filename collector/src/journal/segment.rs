//! The bytes of a segment: a header frame, then one frame a record.
//! Invariant: a header names its segment's first position and the [`Link`] of the segment before it, so that a
//! missing, swapped or rewritten segment does not fit in.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use seatbeat_proto::frame::{self, Frame, HEADER_LENGTH};
use sha2::{Digest, Sha256};

use super::Position;

/// The format written here.
pub const FORMAT: u32 = 1;

/// What the header of the first segment links to.
pub const NO_LINK: [u8; 32] = [0; 32];

const MAGIC: &[u8; 16] = b"seatbeat journal";
const HEADER_BODY_LENGTH: usize = 16 + 4 + 8 + 32;
/// Read ahead: a few dozen usual records.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// What a segment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Position of the segment's first record.
    pub first: Position,
    /// The whole [`Link`] of the segment before.
    pub link: [u8; 32],
}

/// SHA-256 over a segment's header frame and over the head (length and checksum) of each record's frame. Not over the
/// records: their checksums stand for them here, and a start reads a journal several times as fast.
#[derive(Debug, Clone)]
pub struct Link(Sha256);

impl Link {
    /// Of a segment with nothing but this header frame.
    pub fn new(header: &[u8]) -> Self {
        Self(Sha256::new_with_prefix(header))
    }

    /// With one more record, as its frame.
    pub fn add(&mut self, frame: &[u8]) {
        self.0.update(&frame[..HEADER_LENGTH]);
    }

    /// What the header of the next segment names.
    pub fn finish(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }
}

/// A header that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// No header of a journal segment.
    Alien,
    /// Written by a later version.
    Newer(u32),
}

impl Header {
    /// The header as a frame.
    pub fn encode(&self) -> Vec<u8> {
        let first = self.first.0.to_le_bytes();
        let body = [MAGIC.as_slice(), &FORMAT.to_le_bytes(), &first, &self.link].concat();
        let mut bytes = Vec::with_capacity(HEADER_LENGTH + body.len());
        frame::append(&mut bytes, &body).expect("a header is far below the limit of a frame");
        bytes
    }

    /// Reads a header from its frame's body. The format is looked at first: a later one may go on differently.
    pub fn decode(body: &[u8]) -> Result<Self, HeaderError> {
        let rest = body.strip_prefix(MAGIC).ok_or(HeaderError::Alien)?;
        let (format, rest) = rest.split_first_chunk::<4>().ok_or(HeaderError::Alien)?;
        let format = u32::from_le_bytes(*format);
        if format > FORMAT {
            return Err(HeaderError::Newer(format));
        }
        let (first, link) = rest.split_first_chunk::<8>().ok_or(HeaderError::Alien)?;
        let link = link.try_into().map_err(|_| HeaderError::Alien)?;
        if format != FORMAT {
            return Err(HeaderError::Alien);
        }
        Ok(Self { first: Position(u64::from_le_bytes(*first)), link })
    }

    /// Bytes of a header's frame.
    pub const fn encoded_length() -> u64 {
        (HEADER_LENGTH + HEADER_BODY_LENGTH) as u64
    }
}

/// The file of the segment that begins at a position.
pub fn path_of(folder: &Path, first: Position) -> PathBuf {
    folder.join(format!("{:020}.seg", first.0))
}

/// The position in a segment's file name; nothing for any other name.
pub fn position_in(file_name: &str) -> Option<Position> {
    let digits = file_name.strip_suffix(".seg")?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Position)
}

/// What frames are read from: a file, or bytes in memory.
pub trait Input: Read + Seek {}

impl<T: Read + Seek> Input for T {}

/// The frames of a segment, one after the other, one in memory at a time.
pub struct Frames<I> {
    input: BufReader<I>,
    at: u64,
    end: u64,
    frame: Vec<u8>,
}

/// What stands at the next place.
pub enum Next<'a> {
    /// A whole frame, header included; the body begins [`HEADER_LENGTH`] bytes in.
    Whole(&'a [u8]),
    /// No whole frame.
    Broken,
    /// Nothing.
    End,
}

impl<I: Input> Frames<I> {
    /// The frames between two places.
    pub fn between(mut input: I, from: u64, end: u64) -> io::Result<Self> {
        input.seek(SeekFrom::Start(from))?;
        let input = BufReader::with_capacity(READ_AHEAD_BYTES, input);
        Ok(Self { input, at: from, end, frame: Vec::new() })
    }

    /// Where the next frame begins, or the broken one stands.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The next frame.
    pub fn next(&mut self) -> io::Result<Next<'_>> {
        let rest = self.end - self.at;
        if rest == 0 {
            return Ok(Next::End);
        }
        if rest < HEADER_LENGTH as u64 {
            return Ok(Next::Broken);
        }
        self.fill(0, HEADER_LENGTH)?;
        if frame::read(&self.frame) == Frame::Damaged {
            return Ok(Next::Broken);
        }
        let body_length = u32::from_le_bytes([self.frame[0], self.frame[1], self.frame[2], self.frame[3]]);
        if u64::from(body_length) > rest - HEADER_LENGTH as u64 {
            return Ok(Next::Broken);
        }
        self.fill(HEADER_LENGTH, HEADER_LENGTH + body_length as usize)?;
        match frame::read(&self.frame) {
            Frame::Whole { length, .. } => {
                self.at += length as u64;
                Ok(Next::Whole(&self.frame[..length]))
            }
            _ => Ok(Next::Broken),
        }
    }

    /// Reads on behind the first `have` bytes of the frame until there are `length`.
    fn fill(&mut self, have: usize, length: usize) -> io::Result<()> {
        self.frame.resize(length, 0);
        self.input.read_exact(&mut self.frame[have..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_and_no_other_bytes_pass_for_one() {
        let header = Header { first: Position(77), link: [9; 32] };
        let bytes = header.encode();
        assert_eq!(bytes.len() as u64, Header::encoded_length());
        let body = &bytes[HEADER_LENGTH..];
        assert_eq!(Header::decode(body), Ok(header));
        assert_eq!(Header::decode(&body[..body.len() - 1]), Err(HeaderError::Alien));
        assert_eq!(Header::decode(b"seatbeat snapshot"), Err(HeaderError::Alien));
    }

    #[test]
    fn a_later_format_is_told_apart_however_it_goes_on() {
        let body = [MAGIC.as_slice(), &2u32.to_le_bytes(), b"anything"].concat();
        assert_eq!(Header::decode(&body), Err(HeaderError::Newer(2)));
    }

    #[test]
    fn only_twenty_digits_name_a_segment() {
        assert_eq!(position_in("00000000000000000042.seg"), Some(Position(42)));
        for name in ["42.seg", "0000000000000000004x.seg", "00000000000000000042.seg.bak", "notes.txt"] {
            assert_eq!(position_in(name), None, "{name}");
        }
    }
}
