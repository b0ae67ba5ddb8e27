//! The generated messages, as they are on the wire and in the journal. Invariant: nothing here is trusted;
//! values become domain types by `TryFrom` at a door.

#![expect(
    missing_docs,
    clippy::pedantic,
    reason = "generated; the documentation is in proto/seatbeat/v1/*.proto"
)]

include!(concat!(env!("OUT_DIR"), "/seatbeat.v1.rs"));

/// All of them as one encoded `google.protobuf.FileDescriptorSet`, for who asks a server what it speaks.
pub const FILE_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors"));

/// Version of the conversation on the link. Raised when an older side could misread a newer one.
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest message on a door in bytes: a report of 200 products with their signals is a tenth of it.
pub const MESSAGE_LENGTH_MAX: usize = 256 * 1024;

/// In the metadata of a refusal: milliseconds after which it is worth another try (gRPC's proposal A6, "retry pushback").
pub const RETRY_AFTER: &str = "grpc-retry-pushback-ms";
