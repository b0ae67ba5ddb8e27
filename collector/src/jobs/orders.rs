//! Orders as time passes: secrets of orders that are over are erased, what needs a person is said, and orders for
//! machines of customers that left for good are placed again when they expired before the machine came. Invariant:
//! nothing is signed here; what is placed again waits for a signature as everything does.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::orders::{Order, Orders, Status};
use seatbeat_ledger::record::State;
use seatbeat_ledger::registry::{Machine, Registry};
use seatbeat_ledger::standing::CustomerStanding;
use seatbeat_proto::ids::{BatchId, CustomerId, OrderId};
use seatbeat_proto::instant;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, Action, OrderPlaced, OrderScope, OrdersRequested};

use crate::books::Books;
use crate::vault::{VaultError, VaultKind, VaultRow};

/// Alarm of orders whose machines show the opposite of what they said.
const CONTRADICTED: &str = "orders-contradicted";
/// Alarm of orders that nobody signs.
const UNSIGNED: &str = "orders-unsigned";
/// Alarm of secrets that cannot be erased.
const VAULT: &str = "orders-vault";

/// How often it looks by itself: time alone ends orders.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Rest between two looks, so that a batch's orders are seen together.
const PAUSE: Duration = Duration::from_secs(1);

/// How long an order may wait for its signature before somebody is told: a person types a passphrase in less.
const UNSIGNED_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// How long secrets of an order that nobody knows are kept: they are put away before the order is on record.
const UNKNOWN_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// How new a machine's last report has to be for an order to be placed again: machines that are on report each 6 h.
const REPORTED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// Most orders that are placed again in one batch, so that a person sees what they sign; the rest follows.
const AGAIN_MAX: usize = 1_000;

const AGAIN: &str = "the machine reports again: what was ordered for it had expired";

/// The job.
pub struct OrdersJob {
    books: Books,
    /// Since when there are secrets of orders that are not on record.
    unknown: BTreeMap<OrderId, Timestamp>,
}

impl OrdersJob {
    /// Over these books.
    pub fn new(books: Books) -> Self {
        Self { books, unknown: BTreeMap::new() }
    }

    /// Looks now and then, and soon after orders changed, until it is stopped.
    pub async fn follow(mut self, stopped: impl Future<Output = ()>) {
        let mut ordered = self.books.ordered();
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => return,
                _ = tick.tick() => {}
                _ = ordered.recv() => {
                    tokio::time::sleep(PAUSE).await;
                    ordered = ordered.resubscribe();
                }
            }
            self.run().await;
        }
    }

    /// Looks once.
    pub async fn run(&mut self) {
        let now = self.books.clock().now();
        // Copies that share what does not change: nobody waits while they are looked through.
        let (orders, registry) =
            self.books.read(|fold: &Fold| (fold.orders().clone(), fold.registry().clone()));
        self.erase(&orders, now).await;
        self.tell(&orders, &registry, now);
        self.place_again(&orders, &registry, now).await;
    }

    async fn erase(&mut self, orders: &Orders, now: Timestamp) {
        let books = self.books.clone();
        let rows = tokio::task::spawn_blocking(move || books.vault().scan(VaultKind::OrderSealed)).await;
        let Ok(rows) = rows else { return };
        let kept = match rows {
            Ok(rows) => rows.into_iter().filter_map(|(order, _)| order.parse::<OrderId>().ok()).collect(),
            Err(error) => return self.vault_failed(&error),
        };
        let over = self.over(orders, kept, now);
        let books = self.books.clone();
        let erase = move || {
            let rows: Vec<_> = over.iter().map(VaultRow::OrderSealed).collect();
            books.vault().delete_all(&rows)
        };
        match tokio::task::spawn_blocking(erase).await {
            Ok(Err(error)) => self.vault_failed(&error),
            Ok(Ok(())) => self.books.alarms().clear(VAULT),
            Err(panic) => tracing::error!(%panic, "erasing secrets of orders ended with a panic"),
        }
    }

    fn vault_failed(&self, error: &VaultError) {
        let words = format!("secrets of orders that are over cannot be erased: {error}");
        self.books.alarms().raise(VAULT, words);
    }

    /// Those whose secrets are of no use any more.
    fn over(&mut self, orders: &Orders, kept: Vec<OrderId>, now: Timestamp) -> Vec<OrderId> {
        self.unknown.retain(|order, _| orders.order(order).is_none());
        let is_over = |order: &OrderId| match orders.order(order) {
            Some(order) => order.is_over(now),
            None => {
                let since = *self.unknown.entry(order.clone()).or_insert(now);
                now.duration_since(since) >= UNKNOWN_AFTER
            }
        };
        kept.into_iter().filter(is_over).collect()
    }

    fn tell(&self, orders: &Orders, registry: &Registry, now: Timestamp) {
        let is_there = |order: &&Order| registry.machine(&order.machine).is_some_and(is_there);
        let contradicted = orders.contradicted().filter(is_there);
        self.tell_of(CONTRADICTED, contradicted, |first, count| {
            format!(
                "machines show the opposite of what {count} orders did; the first is {} on {}: look there, then order \
                 it again",
                first.id, first.machine
            )
        });
        let late = orders.awaiting_signature(now).filter(|order| {
            let batch = order.batch.as_ref().and_then(|batch| orders.batch(batch));
            batch.is_some_and(|batch| now.duration_since(batch.requested.at) >= UNSIGNED_AFTER)
        });
        self.tell_of(UNSIGNED, late, |first, count| {
            let batch = first.batch.as_ref().map(ToString::to_string).unwrap_or_default();
            format!(
                "{count} orders wait for a signature; the first is {} of batch {batch}: sign or cancel it",
                first.id
            )
        });
    }

    fn tell_of<'a>(
        &self,
        alarm: &'static str,
        mut orders: impl Iterator<Item = &'a Order>,
        words: impl Fn(&Order, usize) -> String,
    ) {
        match orders.next() {
            Some(first) => self.books.alarms().raise(alarm, words(first, 1 + orders.count())),
            None => self.books.alarms().clear(alarm),
        }
    }

    async fn place_again(&self, orders: &Orders, registry: &Registry, now: Timestamp) {
        for (customer, _) in registry.departures() {
            let facts = again(orders, registry, customer, now);
            if facts.is_empty() {
                continue;
            }
            match self.books.write_as_leader(AGAIN, facts).await {
                Ok(_) => tracing::info!(%customer, "expired orders of a customer that left are placed again"),
                Err(error) => return tracing::warn!(%error, "expired orders are not placed again"),
            }
        }
    }
}

/// Whether an agent is still to be heard of.
fn is_there(machine: &Machine) -> bool {
    !machine.banned && machine.retired_at.is_none() && machine.absorbed_into.is_none()
}

/// The records that place again what expired for a customer's machines; none where nothing did. Ids follow from the
/// expired orders': of several collectors that do this at once the fold takes the first.
fn again(orders: &Orders, registry: &Registry, customer: &CustomerId, now: Timestamp) -> Vec<Fact> {
    if !matches!(registry.standing(customer), CustomerStanding::Left(_)) {
        return Vec::new();
    }
    let reports = |machine: &Machine| {
        let last = machine.last.as_ref();
        is_there(machine) && last.is_some_and(|last| now.duration_since(last.received_at) < REPORTED_WITHIN)
    };
    let machines = registry.machines_of(customer, None).filter(|(_, machine)| reports(machine));
    let expired = machines.flat_map(|(id, machine)| {
        orders.of_machine(id).iter().filter(move |order| is_due_again(orders, order, machine, now))
    });
    let expired: Vec<&Order> = expired.take(AGAIN_MAX).collect();
    let Some(first) = expired.first() else { return Vec::new() };
    let batch = BatchId::derived_from(format!("again {}", first.id).as_bytes());
    let has_unenrol = expired.iter().any(|order| order.action() == Action::Unenrol);
    let machines: BTreeSet<_> = expired.iter().map(|order| &order.machine).collect();
    let now_ms = instant::to_ms(now);
    let time_ms = |order: &Order| instant::to_ms(order.expires_at) - instant::to_ms(order.issued_at);
    let longest_ms = expired.iter().map(|order| time_ms(order)).max().unwrap_or(0);
    let requested = OrdersRequested {
        batch: batch.to_string(),
        action: if has_unenrol { Action::Unenrol } else { Action::SwitchOff }.into(),
        scope: Some(OrderScope { customer: customer.to_string(), ..OrderScope::default() }),
        machines: machines.len() as u32,
        orders: expired.len() as u32,
        expires_at_ms: now_ms + longest_ms,
    };
    let placed = expired.iter().map(|order| {
        let request = wire::Order {
            order: OrderId::derived_from(format!("again {}", order.id).as_bytes()).to_string(),
            sequence: 0,
            epoch: 0,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms + time_ms(order),
            ..order.to_wire()
        };
        Fact::OrderPlaced(OrderPlaced { order: None, request: Some(request), batch: batch.to_string() })
    });
    std::iter::once(Fact::OrdersRequested(requested)).chain(placed).collect()
}

/// Whether it takes protection away, came to nothing because its time was over, and is still to be done. One that had
/// secrets is an operator's to place: the collector cannot seal them again.
fn is_due_again(orders: &Orders, order: &Order, machine: &Machine, now: Timestamp) -> bool {
    let is_active = |order: &Order| {
        let products = machine.last.iter().flat_map(|last| last.products.iter());
        let mut products = products.filter(|found| Some(&found.product) == order.product.as_ref());
        products.any(|found| found.state == State::Active)
    };
    let is_wanted = match order.action() {
        Action::SwitchOff => is_active(order),
        Action::Unenrol => true,
        _ => false,
    };
    let expired = matches!(orders.status(order, now), Status::Expired { .. });
    let is_newest = orders.of_machine(&order.machine).iter().rfind(|one| one.product == order.product);
    let was_signed = order.batch.is_some() && order.signature.is_some();
    is_wanted
        && expired
        && was_signed
        && order.secrets_hash.is_none()
        && is_newest.is_some_and(|newest| newest.id == order.id)
}

#[cfg(test)]
mod tests;
