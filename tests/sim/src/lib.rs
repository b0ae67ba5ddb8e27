//! The fleet on virtual time: the product's pure rooms and its files in one thread, with fakes of disk, network, clock
//! and power around them. Invariant: a seed decides everything, and the same seed twice gives the same bytes.

pub mod collector;
pub mod disk;
pub mod host;
pub mod invariant;
pub mod keys;
pub mod run;
pub mod store;
pub mod wrong;

mod book;
mod by_hand;
mod checks;
mod database;
mod enrolment;
mod faults;
mod jobs;
mod leading;
mod misjudged;
mod network;
mod office;
mod operators;
mod ordering;
mod outages;
mod page;
mod rotation;
mod switching;
mod uploading;
mod witness;
mod world;

#[cfg(test)]
mod tests;
