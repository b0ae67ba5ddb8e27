//! An operator as the other arm: they did it in the vendor's or distributor's console and state the receipt of that.
//! Invariant: it does nothing but give out what was stated.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::arm::{Arm, ArmError, Licence, Receipt, Step};

/// What an operator states to have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manual {
    stated: Receipt,
}

impl Manual {
    /// Done under this receipt.
    pub fn new(stated: Receipt) -> Self {
        Self { stated }
    }
}

impl Arm for Manual {
    fn name(&self) -> &'static str {
        "manual"
    }

    fn act<'a>(&'a self, _: Step, _: &'a Licence, _: &'a str) -> BoxFuture<'a, Result<Receipt, ArmError>> {
        ready(Ok(self.stated.clone())).boxed()
    }
}
