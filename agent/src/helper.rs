//! The part of the agent that is root on Linux, and nothing else is: it looks at what only root may see, and verifies and
//! carries out orders itself. Invariant: it has no network and takes nothing on trust from the agent that speaks to it:
//! whose orders count, and what machine this is, stands in a folder that only root writes.

pub mod pinned;
pub mod reach;
pub mod serve;
pub mod words;

#[cfg(test)]
mod tests;
