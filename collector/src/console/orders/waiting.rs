//! Orders that are not over, for who wants to know what is still to be done. Invariant: it looks at batches whose time
//! is not over, and at no other.

use seatbeat_ledger::orders::{Batch, Status, Waits};
use seatbeat_proto::ids::BatchId;

use crate::console::Console;

/// What of all batches waits for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrdersWaiting {
    /// Batches that another operator has to confirm.
    pub held: Vec<BatchId>,
    /// Batches that lack signatures, with how many.
    pub unsigned: Vec<(BatchId, u32)>,
    /// Orders that machines are to take, or have begun.
    pub in_flight: u32,
}

impl Console {
    /// The orders that are not over.
    pub fn orders_waiting(&self) -> OrdersWaiting {
        let now = self.books.clock().now();
        let orders = self.books.read(|fold| fold.orders().clone());
        let mut waiting = OrdersWaiting::default();
        let is_open = |batch: &&Batch| now < batch.expires_at && batch.cancelled.is_none();
        for batch in orders.batches().filter(is_open) {
            let mut unsigned = 0;
            for order in orders.of_batch(batch) {
                match orders.status(order, now) {
                    Status::Ordered(Waits::Signature) => unsigned += 1,
                    Status::Ordered(Waits::Machine | Waits::Switches)
                    | Status::Delivered { .. }
                    | Status::Doing { .. } => waiting.in_flight += 1,
                    _ => {}
                }
            }
            if batch.is_held() {
                waiting.held.push(batch.id.clone());
            } else if unsigned > 0 {
                waiting.unsigned.push((batch.id.clone(), unsigned));
            }
        }
        waiting
    }
}
