//! Switching products on this machine. Invariant: nothing is done that an operator's key did not sign for this machine;
//! what is about to be done is durable before it is begun, what came of it before anybody hears of it.

pub mod actor;
pub mod arm;
pub mod book;
mod deep_security;
mod hands;
mod installers;
mod pccntmon;
mod secrets;
mod services;
#[cfg(all(test, target_os = "linux"))]
pub(crate) mod standin;
mod tool;
pub mod trust;
pub mod worker;

use seatbeat_proto::ids::ProductId;
use seatbeat_proto::procedures::Switch;
use seatbeat_proto::wire::OrderSecrets;

pub use hands::VendorHands;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// To which product.
    pub product: ProductId,
    /// What it is to be.
    pub switch: Switch,
}

/// How a product stands on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// It runs and protects.
    Active,
    /// It is there and does not.
    Inactive,
    /// It is not there.
    Absent,
}

/// Who does it with the vendor's own tools.
pub trait Hands: Send {
    /// Whether it can be done here and now; asked before anything is begun.
    ///
    /// # Errors
    /// Why it cannot, in a sentence for the operator, without a secret.
    fn ready(&mut self, task: &Task, secrets: Option<&OrderSecrets>) -> Result<(), String>;

    /// Does it and looks until it shows or its time is over; says in a sentence what was done.
    ///
    /// # Errors
    /// What went wrong, in a sentence for the operator, without a secret; some of it may have been done.
    fn carry_out(&mut self, task: &Task, secrets: Option<&OrderSecrets>) -> Result<String, String>;

    /// How the product stands; asked after a crash, when nobody knows how far it came.
    ///
    /// # Errors
    /// Why it cannot be told.
    fn look(&mut self, product: &ProductId) -> Result<Stand, String>;
}
