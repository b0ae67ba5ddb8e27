//! Orders to machines: what operators asked for, who signed it, and what became of it. Invariant: of a machine's
//! product at most one order lives, nothing unsigned, held or ended is ever deliverable, and a status is derived from
//! what is on record, never stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use seatbeat_proto::ids::{BatchId, CustomerId, MachineId, OrderId, ProductId};
use seatbeat_proto::wire::Action;
use serde::{Deserialize, Serialize};

use crate::registry::Registry;
use crate::shelf::{Share, Shelves};

mod batch;
mod change;
mod keys;
mod order;
#[cfg(test)]
mod tests;
mod watch;

pub use batch::{Batch, ByOperator, Scope};
pub use keys::{KeyHistory, KeyRevision};
pub use order::{Cancelled, End, Order, Outcome, Signature, Status, Told, Waits};
pub use watch::Shown;

pub(crate) use change::{Answer, Requested};

/// Machines that may be switched off within a day without a second operator, until operators say otherwise: an hour's
/// work to mend by hand.
pub const LIMIT_DEFAULT: u32 = 25;

/// How long switched-off machines count towards the limit.
const LIMIT_TIME: SignedDuration = SignedDuration::from_hours(24);

/// How long after its expiry an order that was begun may still be told to have ended.
pub(crate) const SILENCE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// All orders, their batches and whose orders machines take. Copies share what has not changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// In journal order.
    batches: Arc<Vec<Arc<Batch>>>,
    places: Arc<BTreeMap<BatchId, usize>>,
    /// Whose an order is.
    machines: Arc<BTreeMap<OrderId, MachineId>>,
    by_machine: Shelves<OfMachine>,
    keys: Arc<KeyHistory>,
    limit: u32,
    epoch: u64,
}

/// A machine's orders, in journal order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct OfMachine(Vec<Order>);

impl Share for OfMachine {
    fn share(&mut self, _: &mut crate::names::SharedNames) {}
}

impl Default for Orders {
    fn default() -> Self {
        Self {
            batches: Arc::default(),
            places: Arc::default(),
            machines: Arc::default(),
            by_machine: Shelves::default(),
            keys: Arc::default(),
            limit: LIMIT_DEFAULT,
            epoch: 0,
        }
    }
}

/// What a machine is told so that it does not begin what was cancelled; the service key signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelOwed {
    /// Id of the cancel itself, always the same for the same order.
    pub cancel: OrderId,
    /// The cancelled order.
    pub order: OrderId,
    /// Its product; none: the unenrolling.
    pub product: Option<ProductId>,
    /// Position of the record that cancelled it.
    pub sequence: u64,
    /// The fold's epoch there.
    pub epoch: u64,
    /// When it was cancelled.
    pub issued_at: Timestamp,
    /// When the cancelled order's time is over.
    pub expires_at: Timestamp,
}

impl Orders {
    /// All batches, the newest first.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter().rev().map(AsRef::as_ref)
    }

    /// The batch of this id.
    pub fn batch(&self, batch: &BatchId) -> Option<&Batch> {
        self.places.get(batch).map(|place| self.batches[*place].as_ref())
    }

    /// The order of this id.
    pub fn order(&self, order: &OrderId) -> Option<&Order> {
        self.of_machine(self.machines.get(order)?).iter().find(|one| one.id == *order)
    }

    /// A machine's orders, the oldest first.
    pub fn of_machine(&self, machine: &MachineId) -> &[Order] {
        self.by_machine.get(machine).map_or(&[], |all| all.0.as_slice())
    }

    /// The orders of a batch, as they were placed.
    pub fn of_batch<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = &'a Order> {
        batch
            .placed
            .iter()
            .filter_map(|(machine, order)| self.of_machine(machine).iter().find(|one| one.id == *order))
    }

    /// The orders of a customer's machines, by machine.
    pub fn of_customer<'a>(
        &'a self,
        registry: &'a Registry,
        customer: &CustomerId,
    ) -> impl Iterator<Item = &'a Order> {
        registry.machines_of(customer, None).flat_map(|(machine, _)| self.of_machine(machine))
    }

    /// All orders, by machine.
    pub fn iter(&self) -> impl Iterator<Item = &Order> {
        self.by_machine.iter().flat_map(|(_, all)| &all.0)
    }

    /// Whose orders machines take: every revision as it was signed, for those that are behind.
    pub fn keys(&self) -> &KeyHistory {
        &self.keys
    }

    /// Machines that may be switched off within a day without a second operator.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Raised when a collector was restored from a backup.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Machines of destructive batches that no second operator had to confirm, within the day before an instant.
    pub fn machines_switched_alone(&self, at: Timestamp) -> u32 {
        let recent = |batch: &&Arc<Batch>| at.duration_since(batch.requested.at) < LIMIT_TIME;
        let alone = self.batches.iter().filter(recent).filter(|batch| batch.is_destructive() && !batch.held);
        alone.fold(0, |machines, batch| machines.saturating_add(batch.machines))
    }

    /// Whether so many more machines at an instant need a second operator.
    pub fn needs_second(&self, machines: u32, at: Timestamp) -> bool {
        self.machines_switched_alone(at).saturating_add(machines) > self.limit
    }

    /// What has become of an order.
    pub fn status<'a>(&'a self, order: &'a Order, now: Timestamp) -> Status<'a> {
        order.status(now, || self.waits(order))
    }

    /// Orders that may go to a machine now, the oldest first.
    pub fn deliverable(&self, machine: &MachineId, now: Timestamp) -> Vec<&Order> {
        let mut orders = Vec::new();
        for order in self.of_machine(machine) {
            let is_live = order.batch.is_some() && order.is_live() && now < order.expires_at;
            if is_live && self.waits(order) == Waits::Machine {
                orders.push(order);
            }
        }
        orders
    }

    /// What a machine is to be told of orders that were cancelled when it may have had them, the oldest first.
    pub fn cancels_owed(&self, machine: &MachineId, now: Timestamp) -> Vec<CancelOwed> {
        let all = self.of_machine(machine);
        let owed = all.iter().filter_map(|order| {
            let cancelled = order.cancelled.as_ref().filter(|cancelled| !cancelled.answered)?;
            // What was superseded may lie on the machine as well, and is not to be begun either.
            let may_be_begun = |one: &&Order| {
                one.product == order.product
                    && one.sequence <= order.sequence
                    && one.signature.is_some()
                    && !one.is_begun()
                    && now < one.expires_at
            };
            let expires_at = all.iter().filter(may_be_begun).map(|one| one.expires_at).max()?;
            Some(CancelOwed {
                cancel: order.cancel_id(),
                order: order.id.clone(),
                product: order.product.clone(),
                sequence: cancelled.position,
                epoch: cancelled.epoch,
                issued_at: cancelled.at,
                expires_at,
            })
        });
        owed.collect()
    }

    /// Orders that nothing but a signature is missing of, batch by batch, the newest first. It looks at every order
    /// whose time is not over: ask a copy.
    pub fn awaiting_signature(&self, now: Timestamp) -> impl Iterator<Item = &Order> {
        let open = self.batches().filter(move |batch| {
            now < batch.expires_at && batch.cancelled.is_none() && batch.is_whole() && !batch.is_held()
        });
        open.flat_map(|batch| self.of_batch(batch))
            .filter(move |order| self.status(order, now) == Status::Ordered(Waits::Signature))
    }

    /// Orders whose machines show the opposite of what they said they did.
    pub fn contradicted(&self) -> impl Iterator<Item = &Order> {
        self.iter().filter(|order| matches!(order.shown(), Some(Shown::Contradicted { .. })))
    }

    /// Whether an order was signed by a key that machines take orders of now.
    pub fn is_signed(&self, order: &Order) -> bool {
        order.signature.as_ref().is_some_and(|signature| self.keys.is_in_force(&signature.key))
    }

    fn waits(&self, order: &Order) -> Waits {
        let batch = order.batch.as_ref().and_then(|batch| self.batch(batch));
        match batch {
            Some(batch) if !batch.is_whole() => Waits::Orders,
            Some(batch) if batch.is_held() => Waits::SecondOperator,
            Some(_) if !self.is_signed(order) => Waits::Signature,
            Some(_) if order.action() == Action::Unenrol && !self.is_switched_off(order) => Waits::Switches,
            _ => Waits::Machine,
        }
    }

    /// Whether all that is switched off on the machine together with its unenrolling is confirmed.
    fn is_switched_off(&self, unenrol: &Order) -> bool {
        let others = self.of_machine(&unenrol.machine).iter();
        let mut others = others.filter(|one| one.batch == unenrol.batch && one.id != unenrol.id);
        others.all(|one| matches!(one.shown(), Some(Shown::Confirmed { .. })))
    }
}
