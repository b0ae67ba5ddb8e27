//! The collector: takes the agents' signed reports, keeps them durably, answers what they add up to.
//! Invariant: nothing is acknowledged before it is durable, and all state is derived from the journal.

pub mod alerts;
pub mod backup;
pub mod books;
pub mod clock;
pub mod config;
pub mod console;
pub mod distributor;
pub mod doctor;
mod follower;
pub mod found;
pub mod gateway;
pub mod health;
pub mod jobs;
pub mod joining;
pub mod journal;
pub mod journal_place;
pub mod keys;
mod lately;
mod lock;
mod looks;
pub mod lookup;
pub mod order_key;
pub mod outputs;
pub mod postgres;
mod rows;
pub mod search;
pub mod serve;
mod service_manager;
pub mod set_back;
pub mod snapshot;
pub mod store;
pub mod store_format;
pub mod vault;
