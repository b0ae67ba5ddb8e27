//! Lines of a file of any size. Invariant: memory is bounded by one line's limit, and reading by the file's.

use std::io::{self, BufRead, BufReader, Read};

/// Longest line in bytes that is looked at; the rest of a longer one is skipped. Names and versions are far shorter.
pub const LENGTH_MAX: usize = 4096;

/// Things of one kind that a source keeps; a machine has some tens of the vendor's. The first ones stay.
pub const FOUND_MAX: usize = 1000;

/// Calls `each` with every line, without its end, of the first `bytes_max` bytes.
pub fn for_each(file: impl Read, bytes_max: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, file.take(bytes_max));
    let mut kept = Vec::new();
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            if !kept.is_empty() {
                each(&kept);
            }
            return Ok(());
        }
        let mut used = 0;
        while let Some(end) = chunk[used..].iter().position(|byte| *byte == b'\n') {
            let line = &chunk[used..used + end];
            if kept.is_empty() {
                each(&line[..line.len().min(LENGTH_MAX)]);
            } else {
                keep(&mut kept, line);
                each(&kept);
                kept.clear();
            }
            used += end + 1;
        }
        keep(&mut kept, &chunk[used..]);
        let length = chunk.len();
        reader.consume(length);
    }
}

fn keep(kept: &mut Vec<u8>, part: &[u8]) {
    let room = LENGTH_MAX.saturating_sub(kept.len());
    kept.extend_from_slice(&part[..part.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], bytes_max: u64) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for_each(text, bytes_max, |line| lines.push(line.to_vec())).unwrap();
        lines
    }

    #[test]
    fn lines_come_out_whole_and_long_ones_are_cut() {
        assert_eq!(lines(b"a\n\nbc", 100), [b"a".to_vec(), vec![], b"bc".to_vec()]);
        assert_eq!(lines(b"", 100), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"abcdef\n", 3), [b"abc".to_vec()]);
        let long = [vec![b'x'; 200_000], b"\nshort\n".to_vec()].concat();
        let cut = lines(&long, 1 << 20);
        assert_eq!((cut[0].len(), cut[1].as_slice()), (LENGTH_MAX, b"short".as_slice()));
    }
}
