//! Segments of the journal. Invariant: a segment that is read is read whole: header and records, framed again, are its
//! bytes up to what was cut off; nothing else is taken for one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_collector::journal::{Position, inspect};
use seatbeat_fuzz::{bounded, folder};
use seatbeat_ledger::fold::Fold;
use seatbeat_proto::frame::{self, Frame, HEADER_LENGTH};

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let mut given = bytes.to_vec();
    if mode & 1 == 1 {
        mend(&mut given);
    }
    let place = folder().join("journal");
    std::fs::create_dir_all(&place).expect("a folder can be made");
    std::fs::write(place.join("00000000000000000000.seg"), &given).expect("a file in memory can be written");
    let Ok(inspected) = bounded(given.len(), 16, || inspect(&place)) else { return };
    let records = inspected.reader.read_from(Position(0), usize::MAX).expect("what was looked at is read");
    if given.is_empty() {
        return;
    }
    let torn = usize::try_from(inspected.torn_bytes).expect("it is part of the file");
    let whole = given.len() - torn;
    let mut written = match frame::read(&given) {
        Frame::Whole { length, .. } => given[..length].to_vec(),
        _ => Vec::new(),
    };
    let mut fold = Fold::default();
    for (_, record) in &records {
        frame::append(&mut written, record).expect("what was read fits");
        // A record of a later version, or of nothing, is refused; a fold takes no harm.
        let _ = fold.apply(record);
    }
    assert_eq!(written, given[..whole]);
});

/// Makes the checksum of each frame whose length fits right, so that what stands in it is read.
fn mend(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + HEADER_LENGTH) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(end) = at.checked_add(HEADER_LENGTH + length).filter(|end| *end <= bytes.len()) else {
            return;
        };
        let checksum =
            crc32c::crc32c_append(crc32c::crc32c(&bytes[at..at + 4]), &bytes[at + HEADER_LENGTH..end]);
        bytes[at + 4..at + HEADER_LENGTH].copy_from_slice(&checksum.to_le_bytes());
        at = end;
    }
}
