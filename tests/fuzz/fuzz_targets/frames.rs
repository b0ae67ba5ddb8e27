//! Frame files. Invariant: what is taken for a frame is, byte for byte, what a writer makes of its body; a tail that is
//! cut off is told from damage, and what is kept of it is whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seatbeat_fuzz::bounded;
use seatbeat_proto::frame::{Frame, Tail, append, read, tail};

fuzz_target!(|bytes: &[u8]| {
    let mut at = 0;
    while let Frame::Whole { body, length } = bounded(bytes.len(), 1, || read(&bytes[at..])) {
        let mut written = Vec::new();
        append(&mut written, body).expect("a body that was read fits");
        assert_eq!(written, bytes[at..at + length]);
        at += length;
    }
    match tail(bytes, 0) {
        Tail::Clean => assert_eq!(at, bytes.len()),
        Tail::Torn { keep } => assert_eq!(keep, at),
        Tail::Damaged { at: damage } => assert_eq!(damage, at),
    }
    // The same bodies written by a writer, and cut where the input says: whole ones stay, and nothing else.
    let mut written = Vec::new();
    let bodies = bytes.split(|byte| *byte == 0).take(8);
    let ends: Vec<usize> = bodies
        .map(|body| {
            append(&mut written, body).expect("a short body fits");
            written.len()
        })
        .collect();
    let cut = bytes.first().map_or(0, |first| usize::from(*first) * written.len() / 256);
    let whole = ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0);
    match tail(&written[..cut], 0) {
        Tail::Clean => assert_eq!(whole, cut),
        Tail::Torn { keep } => assert_eq!(keep, whole),
        Tail::Damaged { at } => panic!("a cut at {cut} is taken for damage at {at}"),
    }
});
