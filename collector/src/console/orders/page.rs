//! Orders and batches a page at a time. Invariant: a page reads the names of its own machines and no others.

use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::orders::{Order, Status, Waits};
use seatbeat_proto::ids::BatchId;

use super::{BatchRow, OrderQuery, OrderRow, batch_row};
use crate::console::Console;
use crate::console::downloads::ORDER_STATES;
use crate::console::fault::Fault;

/// Rows, and where the next ones begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paged<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// How many lie before the next page; none: this is the last.
    pub next: Option<usize>,
}

impl<T> Paged<T> {
    /// The page behind the first `from` of `all`; `row` is asked for those alone that are on it.
    fn of<S>(
        all: impl Iterator<Item = S>,
        from: usize,
        size: usize,
        row: impl FnMut(S) -> Result<T, Fault>,
    ) -> Result<Self, Fault> {
        let mut found: Vec<S> = all.skip(from).take(size + 1).collect();
        let next = (found.len() > size).then_some(from + size);
        found.truncate(size);
        Ok(Self { rows: found.into_iter().map(row).collect::<Result<_, _>>()?, next })
    }
}

impl Console {
    /// A batch, and whether orders of it wait for a signature.
    ///
    /// # Errors
    /// When it is not known.
    pub fn batch(&self, id: &BatchId) -> Result<(BatchRow, bool), Fault> {
        let now = self.books.clock().now();
        let fold = self.books.read(Fold::clone);
        let orders = fold.orders();
        let batch = orders.batch(id).ok_or_else(|| Fault::UnknownBatch(id.clone()))?;
        let waits = |order: &Order| orders.status(order, now) == Status::Ordered(Waits::Signature);
        Ok((batch_row(orders, batch, now), orders.of_batch(batch).any(waits)))
    }

    /// Batches, the newest first.
    ///
    /// # Errors
    /// None; as other pages.
    pub fn batch_page(&self, from: usize, size: usize) -> Result<Paged<BatchRow>, Fault> {
        let now = self.books.clock().now();
        let fold = self.books.read(Fold::clone);
        let orders = fold.orders();
        Paged::of(orders.batches(), from, size, |batch| Ok(batch_row(orders, batch, now)))
    }

    /// Orders of a batch, a machine or a customer, or all, that stand as asked.
    ///
    /// # Errors
    /// When somebody in it is not known, nothing stands so, or the vault cannot be read.
    pub fn order_page(
        &self,
        query: &OrderQuery,
        status: Option<&str>,
        from: usize,
        size: usize,
    ) -> Result<Paged<OrderRow>, Fault> {
        if let Some(status) = status.filter(|status| !ORDER_STATES.contains(status)) {
            let known = ORDER_STATES.join(", ");
            return Err(Fault::value("`state`", format!("`{status}` is none of {known}")));
        }
        let now = self.books.clock().now();
        let fold = self.books.read(Fold::clone);
        let orders = fold.orders();
        let all = query.named(&fold)?.unwrap_or_else(|| orders.iter().collect());
        let stands = all.into_iter().map(|order| (order, orders.status(order, now)));
        let wanted = stands.filter(|(_, stands)| status.is_none_or(|asked| stands.name() == asked));
        Paged::of(wanted, from, size, |(order, stands)| self.order_row(order, stands))
    }
}
