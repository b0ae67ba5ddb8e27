//! Orders on their way to one machine, and whose orders it takes. Invariant: an order goes out once a stream, as it was
//! signed and only with the secrets that were sealed for it; a machine that takes nobody's orders is sent none, and no
//! keys either.

use std::sync::Arc;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::orders::CancelOwed;
use seatbeat_proto::ids::{MachineId, OrderId};
use seatbeat_proto::instant;
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::{Action, Order, OrderDelivery, Signed};
use tokio::sync::broadcast::error::RecvError;

use super::door::Door;
use crate::books::Ordered;
use crate::vault::VaultRow;

/// Alarm of an order whose sealed secrets are gone.
const SEALED: &str = "orders-sealed";

/// What one stream was sent so far.
pub struct Deliveries {
    machine: MachineId,
    /// Revision of the order keys that its agent has, or was sent; 0: it takes nobody's orders.
    keys_revision: u64,
    /// Those that are still to be begun, and cancels still to be answered.
    sent: Vec<OrderId>,
}

/// What is due to a machine, as the fold has it.
#[derive(Default)]
struct Due {
    keys: Vec<(u64, Signed)>,
    orders: Vec<Signing>,
    cancels: Vec<CancelOwed>,
    /// All that may be on its way, sent or not.
    open: Vec<OrderId>,
}

struct Signing {
    order: OrderId,
    sequence: u64,
    secrets_hash: Option<[u8; 32]>,
    signed: Signed,
}

impl Deliveries {
    /// For a stream whose agent takes orders of this revision of the keys.
    pub fn new(machine: MachineId, keys_revision: u64) -> Self {
        Self { machine, keys_revision, sent: Vec::new() }
    }

    /// What the machine is to be sent now, in this order; it counts as sent.
    pub async fn due(&mut self, door: &Door) -> Vec<Down> {
        if self.keys_revision == 0 {
            return Vec::new();
        }
        let now = door.books.clock().now();
        let due = door.books.read(|fold| self.look(fold, now));
        self.sent.retain(|sent| due.open.contains(sent));
        let mut messages: Vec<(u64, Down)> = Vec::new();
        for (revision, keys) in due.keys {
            self.keys_revision = revision;
            messages.push((0, Down::OrderKeys(keys)));
        }
        for cancel in due.cancels {
            self.sent.push(cancel.cancel.clone());
            let order = Some(self.cancel(door, &cancel));
            messages.push((cancel.sequence, Down::Order(OrderDelivery { order, sealed: Vec::new() })));
        }
        for one in due.orders {
            let Some(sealed) = sealed(door, &one).await else { continue };
            self.sent.push(one.order);
            messages.push((one.sequence, Down::Order(OrderDelivery { order: Some(one.signed), sealed })));
        }
        messages.sort_by_key(|(sequence, _)| *sequence);
        messages.into_iter().map(|(_, message)| message).collect()
    }

    fn look(&self, fold: &Fold, now: Timestamp) -> Due {
        let orders = fold.orders();
        let keys: Vec<_> =
            orders.keys().behind(self.keys_revision).map(|one| (one.revision, one.signed())).collect();
        if orders.of_machine(&self.machine).is_empty() {
            return Due { keys, ..Due::default() };
        }
        let (mut cancels, deliverable) =
            (orders.cancels_owed(&self.machine, now), orders.deliverable(&self.machine, now));
        let open = cancels.iter().map(|owed| owed.cancel.clone());
        let open = open.chain(deliverable.iter().map(|order| order.id.clone())).collect();
        cancels.retain(|owed| !self.sent.contains(&owed.cancel));
        let unsent = deliverable.into_iter().filter(|order| !self.sent.contains(&order.id));
        let signing = unsent.filter_map(|order| {
            Some(Signing {
                order: order.id.clone(),
                sequence: order.sequence,
                secrets_hash: order.secrets_hash,
                signed: order.signed()?,
            })
        });
        Due { keys, orders: signing.collect(), cancels, open }
    }

    fn cancel(&self, door: &Door, owed: &CancelOwed) -> Signed {
        let order = Order {
            order: owed.cancel.to_string(),
            machine: self.machine.to_string(),
            action: Action::Cancel.into(),
            product: owed.product.as_ref().map(ToString::to_string).unwrap_or_default(),
            sequence: owed.sequence,
            epoch: owed.epoch,
            issued_at_ms: instant::to_ms(owed.issued_at),
            expires_at_ms: instant::to_ms(owed.expires_at),
            ..Order::default()
        };
        sign(door.books.keys().service(), Domain::Order, order.encode_to_vec())
    }
}

/// What rides beside an order, when it is all there.
async fn sealed(door: &Door, one: &Signing) -> Option<Vec<u8>> {
    let Some(expected) = one.secrets_hash else { return Some(Vec::new()) };
    let read = async || {
        let (books, order) = (door.books.clone(), one.order.clone());
        tokio::task::spawn_blocking(move || books.vault().get(VaultRow::OrderSealed(&order))).await
    };
    let mut found = read().await;
    if matches!(found, Ok(Ok(None))) {
        // Another collector may have placed it just now.
        door.books.vault().caught_up().await;
        found = read().await;
    }
    let why = match found {
        Ok(Ok(Some(bytes))) if hash(&bytes) == expected => return Some(bytes.to_vec()),
        Ok(Ok(Some(_))) => "they are not those that were signed for".to_owned(),
        Ok(Ok(None)) => "they are not in the vault".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic.to_string(),
    };
    let words = format!(
        "the secrets sealed for order {} cannot be sent: {why}; cancel the order and place it again",
        one.order
    );
    door.books.alarms().raise(SEALED, words);
    None
}

/// Wakes the streams of machines that something is due to. Never returns.
pub async fn follow(door: Arc<Door>) {
    let mut ordered = door.books.ordered();
    // For those who connected before it listened.
    door.streams.wake_all();
    loop {
        match ordered.recv().await {
            Ok(Ordered::Machines(machines)) => machines.iter().for_each(|machine| door.streams.wake(machine)),
            Ok(Ordered::All) | Err(RecvError::Lagged(_)) => door.streams.wake_all(),
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
