//! Simulated machines that speak the real protocol, for the demonstration and for load and kill tests. Invariant: they
//! know the wire and nothing of agent or collector; all but `client` is pure.

pub mod client;
pub mod expected;
pub mod journal;
pub mod machine;
mod plan;
pub mod seed;
pub mod snapshot;

pub use plan::{CUSTOMERS, Customer, Plan, PlanError, Planned, plan};
