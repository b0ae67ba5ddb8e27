//! Frames of an append-only file: `length u32 LE | crc32c u32 LE | body`, the checksum over length and body.
//! Invariant: a body comes out exactly as it went in, or not at all; a run of zeros is no frame.

/// Bytes in front of each body.
pub const HEADER_LENGTH: usize = 8;

/// Longest body in bytes: four times the largest message that a door lets in (256 KiB), for what wraps it.
pub const BODY_LENGTH_MAX: usize = 1024 * 1024;

/// What stands at a place of a frame file.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole frame; the next one starts `length` bytes on.
    Whole {
        /// What was written.
        body: &'a [u8],
        /// Bytes of the frame, header included.
        length: usize,
    },
    /// The bytes end before the frame does: a torn tail, when nothing follows.
    Torn,
    /// Bytes that no writer left like this.
    Damaged,
    /// Nothing is left.
    End,
}

/// A body that is longer than a frame holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are more than a frame holds ({BODY_LENGTH_MAX})")]
pub struct TooLong(pub usize);

/// Appends one frame to `file`.
///
/// # Errors
/// When the body is longer than [`BODY_LENGTH_MAX`]; nothing is appended then.
pub fn append(file: &mut Vec<u8>, body: &[u8]) -> Result<(), TooLong> {
    if body.len() > BODY_LENGTH_MAX {
        return Err(TooLong(body.len()));
    }
    let length = (body.len() as u32).to_le_bytes();
    file.extend_from_slice(&length);
    file.extend_from_slice(&checksum(length, body).to_le_bytes());
    file.extend_from_slice(body);
    Ok(())
}

/// Reads the frame that `bytes` start with.
pub fn read(bytes: &[u8]) -> Frame<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LENGTH>() else {
        return if bytes.is_empty() { Frame::End } else { Frame::Torn };
    };
    let length = [header[0], header[1], header[2], header[3]];
    let expected = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let body_length = u32::from_le_bytes(length) as usize;
    if body_length > BODY_LENGTH_MAX {
        return Frame::Damaged;
    }
    match rest.get(..body_length) {
        None => Frame::Torn,
        Some(body) if checksum(length, body) == expected => {
            Frame::Whole { body, length: HEADER_LENGTH + body_length }
        }
        Some(_) => Frame::Damaged,
    }
}

/// Where the whole frames of a file end, and what stands behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Whole frames up to the end.
    Clean,
    /// Behind `keep` bytes stands a frame that was cut off while it was written: nothing whole follows it.
    Torn {
        /// Bytes of whole frames.
        keep: usize,
    },
    /// At `at` stand bytes that are no frame, and whole frames follow: the file was damaged, not cut off.
    Damaged {
        /// Where the damage begins.
        at: usize,
    },
}

/// Tells a torn tail, which a crash leaves, from damage, which it does not: behind a torn tail no whole frame
/// begins. `start` is where the first frame stands.
pub fn tail(bytes: &[u8], start: usize) -> Tail {
    let mut at = start;
    loop {
        match read(&bytes[at..]) {
            Frame::Whole { length, .. } => at += length,
            Frame::End => return Tail::Clean,
            Frame::Torn | Frame::Damaged => {
                let whole_follows = (at + 1..bytes.len())
                    .any(|later| matches!(read(&bytes[later..]), Frame::Whole { length, .. } if length > HEADER_LENGTH));
                return if whole_follows { Tail::Damaged { at } } else { Tail::Torn { keep: at } };
            }
        }
    }
}

fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bodies: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in bodies {
            append(&mut bytes, body).unwrap();
        }
        bytes
    }

    #[test]
    fn bodies_come_out_as_they_went_in() {
        let bytes = file(&[b"one", b"", b"three"]);
        let mut at = 0;
        let mut seen = Vec::new();
        while let Frame::Whole { body, length } = read(&bytes[at..]) {
            seen.push(body.to_vec());
            at += length;
        }
        assert_eq!(seen, [b"one".to_vec(), vec![], b"three".to_vec()]);
        assert_eq!(tail(&bytes, 0), Tail::Clean);
    }

    #[test]
    fn every_cut_of_the_last_frame_is_a_torn_tail() {
        let bytes = file(&[b"first", b"second"]);
        let keep = HEADER_LENGTH + 5;
        for cut in keep + 1..bytes.len() {
            assert_eq!(tail(&bytes[..cut], 0), Tail::Torn { keep }, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_before_whole_frames_is_damage_not_a_tail() {
        let whole = file(&[b"first", b"second", b"third"]);
        for bit in 0..(HEADER_LENGTH + 5) * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(tail(&bytes, 0), Tail::Damaged { at: 0 }, "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(read(&[0; 64]), Frame::Damaged);
        assert_eq!(tail(&[0; 64], 0), Tail::Torn { keep: 0 });
    }

    #[test]
    fn a_body_over_the_limit_is_refused() {
        let mut bytes = Vec::new();
        assert_eq!(append(&mut bytes, &vec![0; BODY_LENGTH_MAX + 1]), Err(TooLong(BODY_LENGTH_MAX + 1)));
        assert!(bytes.is_empty());
    }
}
