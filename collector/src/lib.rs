//! The collector: takes the agents' signed reports, keeps them durably, answers what they add up to.
//! Invariant: nothing is acknowledged before it is durable, and all state is derived from the journal.

pub mod journal;
pub mod lookup;
mod rows;
pub mod snapshot;
pub mod store;
pub mod vault;
