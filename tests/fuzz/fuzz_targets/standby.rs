//! Frames of a connection on standby. Invariant: what is read does not depend on the pieces that it comes in, none is
//! longer than a frame may be, and a message that fits is read as it was framed.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use seatbeat_proto::standby::{LENGTH_MAX, frame, unframe};
use seatbeat_proto::wire::AgentMessage;

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, bytes.len().max(1));
    for length in [1, 3, 64] {
        assert_eq!(read(bytes, length), whole, "in pieces of {length}");
    }
    for body in whole.0 {
        assert!(body.len() <= LENGTH_MAX);
        let Ok(message) = AgentMessage::decode(body.as_slice()) else { continue };
        if let Ok(mut framed) = frame(&message) {
            let read = unframe(&mut framed).expect("it is short enough").expect("it is whole");
            assert_eq!((read.to_vec(), framed.len()), (message.encode_to_vec(), 0));
        }
    }
});

/// The frames of what comes so many bytes at a time, and whether all of them are short enough.
fn read(bytes: &[u8], length: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut came, mut frames) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(length) {
        came.extend_from_slice(piece);
        loop {
            match unframe(&mut came) {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    (frames, true)
}
