//! The standby connection: TLS under a name of its own, and in it small frames instead of gRPC, so that a machine which
//! has nothing to say costs little. Invariant: a frame is two bytes of length (big-endian) and one message; a longer
//! one than [`LENGTH_MAX`] is an error before it is read.

use bytes::BytesMut;
use prost::Message;

/// Its protocol name under TLS.
pub const ALPN: &[u8] = b"seatbeat-standby/1";

/// Largest message in bytes: a Hello with a long host name, or settings, have less.
pub const LENGTH_MAX: usize = 1024;

/// Bytes of room that a reader has before something comes: a beat fits.
pub const READ_LENGTH: usize = 64;

/// Bytes of a frame's length.
const HEADER_LENGTH: usize = 2;

/// A frame whose length says that it is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame has {0} bytes, and can have {LENGTH_MAX}")]
pub struct TooLong(usize);

/// A message as a frame.
///
/// # Errors
/// When it is too long.
pub fn frame(message: &impl Message) -> Result<BytesMut, TooLong> {
    let length = message.encoded_len();
    let header = u16::try_from(length).ok().filter(|_| length <= LENGTH_MAX).ok_or(TooLong(length))?;
    let mut frame = BytesMut::with_capacity(HEADER_LENGTH + length);
    frame.extend_from_slice(&header.to_be_bytes());
    frame.extend_from_slice(&message.encode_to_vec());
    Ok(frame)
}

/// Takes the first message's bytes off what has come; none: it has not come whole.
///
/// # Errors
/// When it is too long.
pub fn unframe(came: &mut BytesMut) -> Result<Option<BytesMut>, TooLong> {
    let Some((header, rest)) = came.split_first_chunk::<HEADER_LENGTH>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*header));
    if length > LENGTH_MAX {
        return Err(TooLong(length));
    }
    if rest.len() < length {
        return Ok(None);
    }
    let mut frame = came.split_to(HEADER_LENGTH + length);
    Ok(Some(frame.split_off(HEADER_LENGTH)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{AgentMessage, Beat, Signed, agent_message::Body};

    fn beat(waiting: u32) -> AgentMessage {
        AgentMessage { body: Some(Body::Beat(Beat { sent_at_ms: 1, waiting, answer: false })) }
    }

    #[test]
    fn what_was_framed_is_read_whatever_pieces_it_comes_in() {
        let sent: Vec<AgentMessage> = (0..4).map(beat).collect();
        let bytes: Vec<u8> = sent.iter().flat_map(|message| frame(message).unwrap()).collect();
        let (mut came, mut read) = (BytesMut::new(), Vec::new());
        for byte in bytes {
            came.extend_from_slice(&[byte]);
            while let Some(frame) = unframe(&mut came).unwrap() {
                read.push(AgentMessage::decode(frame).unwrap());
            }
        }
        assert_eq!(read, sent);
    }

    #[test]
    fn a_frame_that_is_too_long_is_neither_made_nor_read() {
        let long = AgentMessage {
            body: Some(Body::Evidence(Signed { payload: vec![0; LENGTH_MAX], signature: Vec::new() })),
        };
        assert!(frame(&long).is_err());
        let mut came = BytesMut::from(&[0x04, 0x01][..]);
        assert_eq!(unframe(&mut came), Err(TooLong(LENGTH_MAX + 1)), "its length says enough");
    }
}
