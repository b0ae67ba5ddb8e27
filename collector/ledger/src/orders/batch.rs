//! A batch: one act of an operator, spread over machines. Invariant: it never has more orders or machines than it asked
//! for, and whether a second operator has to confirm it is settled where it was asked for.

use jiff::Timestamp;
use seatbeat_proto::ids::{BatchId, CustomerId, LicenceId, MachineId, OrderId, ProductId};
use seatbeat_proto::wire::Action;
use serde::{Deserialize, Serialize};

/// What an operator wanted done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// Where it was asked for in the journal.
    pub position: u64,
    pub(super) action: i32,
    /// Which machines and products it is about.
    pub scope: Scope,
    /// How many machines it may touch.
    pub machines: u32,
    /// How many orders it has when it is whole.
    pub orders: u32,
    /// No order of it is begun from here on.
    pub expires_at: Timestamp,
    /// Who asked, and when.
    pub requested: ByOperator,
    /// Why, in their words.
    pub reason: String,
    /// A second operator has to confirm it, or had to.
    pub held: bool,
    /// Who confirmed it.
    pub confirmed: Option<ByOperator>,
    /// Who cancelled it as a whole.
    pub cancelled: Option<ByOperator>,
    pub(super) placed: Vec<(MachineId, OrderId)>,
    /// How many machines its orders are for so far.
    pub(super) touched: u32,
}

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByOperator {
    /// `opr_…`, or `collector`.
    pub by: String,
    /// When it was written down.
    pub at: Timestamp,
}

/// What a batch is about; what is not named is not narrowed by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Machines of this customer.
    pub customer: Option<CustomerId>,
    /// This machine.
    pub machine: Option<MachineId>,
    /// What runs of this licence.
    pub licence: Option<LicenceId>,
    /// This product.
    pub product: Option<ProductId>,
}

impl Batch {
    /// What is done.
    pub fn action(&self) -> Action {
        Action::try_from(self.action).unwrap_or_default()
    }

    /// How many of its orders are placed.
    pub fn placed(&self) -> usize {
        self.placed.len()
    }

    /// The machines and orders of it, as they were placed.
    pub fn members(&self) -> impl Iterator<Item = (&MachineId, &OrderId)> {
        self.placed.iter().map(|(machine, order)| (machine, order))
    }

    /// Whether all its orders are placed.
    pub fn is_whole(&self) -> bool {
        self.placed.len() == self.orders as usize
    }

    /// Whether it waits for a second operator.
    pub fn is_held(&self) -> bool {
        self.held && self.confirmed.is_none()
    }

    /// Whether it takes protection away.
    pub fn is_destructive(&self) -> bool {
        is_destructive(self.action())
    }
}

/// Whether an action takes protection away.
pub(super) fn is_destructive(action: Action) -> bool {
    matches!(action, Action::SwitchOff | Action::Unenrol)
}
