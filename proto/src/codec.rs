//! How messages lie in memory on their way to and from a stream. Invariant: the bytes on the wire are prost's.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// Bytes of a stream's buffer while nothing larger has come: a beat and an acknowledgement are tens of bytes. With the
/// 8 KiB that tonic takes otherwise, in either direction, ten thousand idle agents hold 80 MiB of nothing.
const BUFFER_LENGTH: usize = 512;

/// Bytes of messages that are ready at once after which they are sent on: tonic's own figure.
const YIELD_THRESHOLD: usize = 32 * 1024;

/// prost's codec with small buffers, which grow with what comes.
#[derive(Debug, Clone)]
pub struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_LENGTH, YIELD_THRESHOLD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_LENGTH, YIELD_THRESHOLD))
    }
}
