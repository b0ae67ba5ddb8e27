//! The words both sides share: ids, signed envelopes, frames, wire messages, catalogue.
//! Invariant: no clock, no network, no files; what is signed is kept as the bytes that came.

pub mod catalogue;
#[cfg(feature = "grpc")]
pub mod codec;
pub mod frame;
pub mod hex;
pub mod ids;
pub mod instant;
pub mod procedures;
pub mod sealing;
pub mod signed;
#[cfg(feature = "grpc")]
pub mod standby;
#[cfg(feature = "tls")]
pub mod tls;
pub mod token;
pub mod trust;
pub mod wire;
