//! Jobs: each compares what should be with what is, woken by a timer. Invariant: a job takes no input, and running it
//! twice is running it once.

pub mod alerts;
pub mod archive;
pub mod close;
pub mod identity;
pub mod leading;
pub mod orders;
pub mod proofs;
pub mod upload;
