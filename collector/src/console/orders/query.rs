//! Which orders somebody asks for. Invariant: a batch, a machine or a customer that is not known is said to be that; it
//! is never an empty answer.

use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::orders::Order;
use seatbeat_proto::ids::{BatchId, CustomerId, MachineId};

use crate::console::fault::Fault;

/// Which batches or orders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderQuery {
    /// The orders of this batch.
    pub batch: Option<BatchId>,
    /// The orders of this customer's machines.
    pub customer: Option<CustomerId>,
    /// The orders of this machine.
    pub machine: Option<MachineId>,
}

impl OrderQuery {
    /// The orders that all of it names; none: it names nothing.
    ///
    /// # Errors
    /// When somebody in it is not known.
    pub fn named<'a>(&self, fold: &'a Fold) -> Result<Option<Vec<&'a Order>>, Fault> {
        let (orders, registry) = (fold.orders(), fold.registry());
        if let Some(customer) = self.customer.as_ref().filter(|one| !registry.has_customer(one)) {
            return Err(Fault::UnknownCustomer(customer.clone()));
        }
        if let Some(machine) = self.machine.as_ref().filter(|one| registry.machine(one).is_none()) {
            return Err(Fault::UnknownMachine(machine.clone()));
        }
        let of_batch = match &self.batch {
            Some(id) => Some(orders.batch(id).ok_or_else(|| Fault::UnknownBatch(id.clone()))?),
            None => None,
        };
        let is_theirs = |order: &&Order| {
            let of_customer = || registry.machine(&order.machine).map(|machine| &machine.customer);
            self.customer.as_ref().is_none_or(|customer| of_customer() == Some(customer))
                && self.machine.as_ref().is_none_or(|machine| order.machine == *machine)
        };
        // The narrowest list that there is, and of that what the others name, too.
        Ok(match (of_batch, &self.machine, &self.customer) {
            (Some(batch), ..) => Some(orders.of_batch(batch).filter(is_theirs).collect()),
            (None, Some(machine), _) => Some(orders.of_machine(machine).iter().filter(is_theirs).collect()),
            (None, None, Some(customer)) => Some(orders.of_customer(registry, customer).collect()),
            (None, None, None) => None,
        })
    }
}
