//! Orders, as operators ask for them: planned, placed, confirmed, signed, cancelled, and what has become of them.
//! Invariant: what the fold would refuse is refused before it is written; no key that signs orders and no secret that
//! is not sealed is ever given to the collector.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::{Fold, Verdict};
use seatbeat_ledger::forecast::switched::{SwitchLine, switch_effect};
use seatbeat_ledger::orders::{Batch, Order, Orders, Scope, Status};
use seatbeat_ledger::registry::Refusal;
use seatbeat_ledger::usage::Switch;
use seatbeat_proto::ids::{BatchId, CustomerId, MachineId, OrderId, ProductId};
use seatbeat_proto::signed::{hash, key_text};
use seatbeat_proto::trust;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, JournalRecord};
use serde::{Deserialize, Serialize};
use tonic::Streaming;

use super::Console;
use super::auth::Caller;
use super::command::checked_reason;
use super::departures::{ArmRow, arms};
use super::fault::Fault;
use crate::journal::Position;
use crate::order_key::{LockedKey, kept};
use crate::vault::{VaultError, VaultRow};

pub mod make;
pub mod page;
pub mod placing;
mod plan;
mod query;
pub mod waiting;

pub(super) use plan::switched_as;
pub use plan::{Asked, Cannot, PlanRow, Wish};
pub use query::OrderQuery;

/// Facts written side by side: a fraction of what may wait to be written.
const FACTS_AT_ONCE: usize = 1000;

/// Most orders of one batch that are taken: all products of ten thousand machines.
const ORDERS_MAX: usize = 100_000;

/// What an order would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlan {
    /// What is wanted.
    pub wish: Wish,
    /// Each machine and product, those included where it cannot be done.
    pub rows: Vec<PlanRow>,
    /// Machines that something is done on.
    pub machines: u32,
    /// Whether another operator has to confirm it.
    pub needs_second: bool,
    /// Machines that one operator may switch off within a day alone.
    pub limit: u32,
    /// Revision of the order keys in force; 0: there are none, and nothing can be signed.
    pub keys_revision: u64,
    /// The collector's clock, for what is placed by it.
    pub now: Timestamp,
    /// What the running month will come to otherwise.
    pub effect: Vec<SwitchLine>,
}

/// A batch as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRow {
    /// Which one.
    pub batch: BatchId,
    /// `switch off`, `switch on` or `unenrol`.
    pub action: String,
    /// What it is about.
    pub scope: Scope,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in their words.
    pub reason: String,
    /// Nothing of it is begun from here on.
    pub expires_at: Timestamp,
    /// Who confirmed it; none: nobody had to, or nobody has.
    pub confirmed_by: Option<String>,
    /// Whether it waits for a second operator.
    pub held: bool,
    /// How many of its orders stand how, by status.
    pub statuses: BTreeMap<String, u32>,
}

/// An order as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    /// Which one.
    pub order: OrderId,
    /// Of which batch.
    pub batch: Option<BatchId>,
    /// For which machine.
    pub machine: MachineId,
    /// What the machine is called; empty: not known.
    pub host_name: String,
    /// `switch off`, `switch on`, `uninstall` or `unenrol`.
    pub action: String,
    /// Of which product; none: the agent itself.
    pub product: Option<ProductId>,
    /// What has become of it.
    pub status: String,
    /// What it waits for, or what the machine said.
    pub detail: String,
    /// When it got there; none: it has only been placed.
    pub since: Option<Timestamp>,
    /// When it is given up.
    pub expires_at: Timestamp,
}

/// Batches, or orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderList {
    /// The newest first.
    pub batches: Vec<BatchRow>,
    /// Of what was asked for by name, as they were placed.
    pub orders: Vec<OrderRow>,
    /// Of a customer: the distributor's arm beside the machines', by SKU.
    pub arms: Vec<ArmRow>,
}

impl Console {
    /// What an order would do where, what cannot be done and why.
    ///
    /// # Errors
    /// When the scope names nobody, or the position is not known here in time.
    pub async fn plan_orders(&self, wish: Wish, scope: &Scope, after: u64) -> Result<OrderPlan, Fault> {
        self.books.reached(after).await?;
        let now = self.books.clock().now();
        let fold = self.books.read(Fold::clone);
        let mut rows = plan::plan(&fold, wish, scope, now)?;
        for row in &mut rows {
            row.host_name = self.name(VaultRow::HostName(&row.machine))?;
            row.connected = self.presence.connected(&row.machine);
        }
        let mut machines: Vec<_> =
            rows.iter().filter(|row| row.cannot.is_none()).map(|row| &row.machine).collect();
        machines.dedup();
        let machines = machines.len() as u32;
        let effect = self.effect_of(wish, &rows, fold.clone(), now).await?;
        let orders = fold.orders();
        Ok(OrderPlan {
            wish,
            machines,
            needs_second: wish != Wish::SwitchOn && orders.needs_second(machines, now),
            limit: orders.limit(),
            keys_revision: orders.keys().newest().map_or(0, |newest| newest.revision),
            now,
            rows,
            effect,
        })
    }

    async fn effect_of(
        &self,
        wish: Wish,
        rows: &[PlanRow],
        fold: Fold,
        now: Timestamp,
    ) -> Result<Vec<SwitchLine>, Fault> {
        let possible = rows.iter().filter(|row| row.cannot.is_none());
        let switched: BTreeSet<(MachineId, ProductId)> =
            possible.filter_map(|row| Some((row.machine.clone(), row.product.clone()?))).collect();
        let to = if wish == Wish::SwitchOn { Switch::On } else { Switch::Off };
        let period = Period::of_day(fold.usage().zone().usage_day(now));
        let policy = fold.terms().policy(period)?;
        let effect = move || switch_effect(&fold, &policy, &switched, to, now);
        Ok(tokio::task::spawn_blocking(effect).await??)
    }

    /// Puts a batch and its orders on record, and what is sealed for them into the vault.
    ///
    /// # Errors
    /// When the fold would not take one of them, nothing is written; or it cannot be written.
    pub async fn place_orders(
        &self,
        caller: &Caller,
        pieces: Streaming<wire::PlaceOrdersPiece>,
    ) -> Result<wire::PlacedOrders, Fault> {
        let (request, reason, orders) = gathered(pieces).await?;
        self.place(caller, request, &reason, orders).await
    }

    /// As [`Self::place_orders`], of a batch that came whole.
    async fn place(
        &self,
        caller: &Caller,
        request: wire::OrdersRequested,
        reason: &str,
        orders: Vec<wire::SealedOrder>,
    ) -> Result<wire::PlacedOrders, Fault> {
        checked_reason(reason)?;
        let batch: BatchId = request.batch.parse()?;
        let mut sealed: Vec<(OrderId, Vec<u8>)> = Vec::new();
        let mut facts = vec![Fact::OrdersRequested(request)];
        for wire::SealedOrder { order, sealed: secrets } in orders {
            let order = order.ok_or_else(|| Fault::value("an order", "is missing"))?;
            let matches = match secrets.is_empty() {
                true => order.secrets_hash.is_empty(),
                false => order.secrets_hash == hash(&secrets),
            };
            if !matches {
                return Err(Fault::value(
                    "an order",
                    format!("{} does not name what is sealed for it", order.order),
                ));
            }
            if !secrets.is_empty() {
                sealed.push((order.order.parse()?, secrets));
            }
            facts.push(Fact::OrderPlaced(wire::OrderPlaced {
                order: None,
                request: Some(order),
                batch: batch.to_string(),
            }));
        }
        let _one_at_a_time = self.adding.lock().await;
        self.tried(caller, reason, &facts).await?;
        let books = self.books.clone();
        tokio::task::spawn_blocking(move || -> Result<(), VaultError> {
            let rows: Vec<_> = sealed
                .iter()
                .map(|(order, secrets)| (VaultRow::OrderSealed(order), secrets.as_slice()))
                .collect();
            books.vault().put_all(&rows)
        })
        .await??;
        let position = self.write_side_by_side(caller, reason, facts).await?;
        let held = self.books.read(|fold| fold.orders().batch(&batch).map(Batch::is_held));
        let held = held.ok_or(Fault::OrderRefused(Refusal::Repeated))?;
        Ok(wire::PlacedOrders { position: position.0, held })
    }

    /// The orders that only a signature is missing of.
    ///
    /// # Errors
    /// When the batch is not known, or the position is not known here in time.
    pub async fn unsigned_orders(
        &self,
        batch: Option<BatchId>,
        after: u64,
    ) -> Result<Vec<wire::Order>, Fault> {
        self.books.reached(after).await?;
        let now = self.books.clock().now();
        let fold = self.books.read(Fold::clone);
        if let Some(batch) = batch.as_ref().filter(|batch| fold.orders().batch(batch).is_none()) {
            return Err(Fault::UnknownBatch(batch.clone()));
        }
        let orders = fold.orders().awaiting_signature(now);
        Ok(orders.filter(|one| batch.is_none() || one.batch == batch).map(Order::to_wire).collect())
    }

    /// Takes signatures: from here on the machines may have the orders.
    ///
    /// # Errors
    /// When one is none by a key in force, or its order is over or waits for something else: none is taken then.
    pub async fn sign_orders(
        &self,
        caller: &Caller,
        mut pieces: Streaming<wire::SignedOrders>,
    ) -> Result<Position, Fault> {
        let mut signed = Vec::new();
        while let Some(wire::SignedOrders { orders }) = pieces.message().await.map_err(|_| cut_off())? {
            signed.extend(orders);
            if signed.len() > ORDERS_MAX {
                return Err(too_many());
            }
        }
        self.take_signatures(caller, signed).await
    }

    async fn take_signatures(&self, caller: &Caller, signed: Vec<wire::Signed>) -> Result<Position, Fault> {
        let fact = |order| Fact::OrderSigned(wire::OrderSigned { order: Some(order) });
        let facts: Vec<Fact> = signed.into_iter().map(fact).collect();
        if facts.is_empty() {
            return Err(Fault::value("the orders", "are none: nothing waits for a signature"));
        }
        let _one_at_a_time = self.adding.lock().await;
        self.tried(caller, "", &facts).await?;
        self.write_side_by_side(caller, "", facts).await
    }

    /// Lets a batch go on that is about many machines, or cancels a batch or one order of it.
    ///
    /// # Errors
    /// When the fold would not take it, or it cannot be written.
    pub async fn act_on_orders(&self, caller: &Caller, fact: Fact, reason: &str) -> Result<Position, Fault> {
        let _one_at_a_time = self.adding.lock().await;
        self.tried(caller, reason, std::slice::from_ref(&fact)).await?;
        self.write(caller, reason, fact).await
    }

    /// Sets whose orders machines take, and keeps the locked key where it is to be kept here.
    ///
    /// # Errors
    /// When they are not signed by who may, the collector is to keep no key, or it cannot be written.
    pub async fn set_order_keys(
        &self,
        caller: &Caller,
        keys: wire::Signed,
        locked_key: &str,
        reason: &str,
    ) -> Result<Position, Fault> {
        let named = wire::OrderKeys::decode(keys.payload.as_slice()).unwrap_or_default();
        let next = match locked_key.is_empty() {
            true => None,
            false => Some(self.checked_locked_key(&named, locked_key)?),
        };
        let _one_at_a_time = self.adding.lock().await;
        let fact = Fact::OrderKeysSet(wire::OrderKeysSet { keys: Some(keys) });
        self.tried(caller, reason, std::slice::from_ref(&fact)).await?;
        if let Some(next) = next {
            let (books, trusted) = (self.books.clone(), self.trusted());
            tokio::task::spawn_blocking(move || kept::add_next(books.vault(), &trusted, &next)).await??;
        }
        let position = self.write(caller, reason, fact).await?;
        let books = self.books.clone();
        tokio::task::spawn_blocking(move || kept::settle(books.vault(), &named)).await??;
        Ok(position)
    }

    fn checked_locked_key(&self, named: &wire::OrderKeys, locked_key: &str) -> Result<LockedKey, Fault> {
        if self.config.order_key == crate::config::OrderKey::Operator {
            return Err(Fault::value(
                "the order key",
                "is to be kept by the operator: this collector is configured with `order_key = \"operator\"`",
            ));
        }
        let locked = LockedKey::from_text(locked_key).map_err(|why| Fault::value("the order key", why))?;
        let public = locked.public().map_err(|why| Fault::value("the order key", why))?;
        if named.keys.iter().any(|key| key == public.as_bytes()) {
            Ok(locked)
        } else {
            Err(Fault::value("the order key", format!("{} is none of the new order keys", key_text(&public))))
        }
    }

    /// Whose orders machines take, and the locked key where it is kept here.
    ///
    /// # Errors
    /// When the position is not known here in time, or the vault fails.
    pub async fn order_keys(&self, after: u64) -> Result<wire::OrderKeysReply, Fault> {
        self.books.reached(after).await?;
        let trusted = self.trusted();
        let trust = if trusted.revision == 0 { String::new() } else { trust::format(&trusted) };
        let locked_key =
            self.kept_order_key(trusted).await?.map(|locked| locked.to_text()).unwrap_or_default();
        Ok(wire::OrderKeysReply { trust, locked_key, kept_by: self.config.order_key.as_str().to_owned() })
    }

    /// The order key that is kept here, under its passphrase.
    async fn kept_order_key(&self, trusted: wire::OrderKeys) -> Result<Option<LockedKey>, Fault> {
        let books = self.books.clone();
        Ok(tokio::task::spawn_blocking(move || kept::in_force(books.vault(), &trusted)).await??)
    }

    /// The newest order keys; none have the revision 0.
    pub(super) fn trusted(&self) -> wire::OrderKeys {
        let newest = self.books.read(|fold| fold.orders().keys().newest().map(|newest| newest.signed()));
        let keys = newest.and_then(|signed| wire::OrderKeys::decode(signed.payload.as_slice()).ok());
        keys.unwrap_or_default()
    }

    /// Batches with what has become of them; the orders of what is named.
    ///
    /// # Errors
    /// When somebody in it is not known, or the position is not known here in time.
    pub async fn orders(&self, query: OrderQuery, after: u64) -> Result<OrderList, Fault> {
        self.books.reached(after).await?;
        let now = self.books.clock().now();
        let fold = self.books.read(Fold::clone);
        let orders = fold.orders();
        let found = query.named(&fold)?.unwrap_or_default();
        let rows = found.into_iter().map(|order| self.order_row(order, orders.status(order, now)));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let batches: Vec<&Batch> = match &query.batch {
            Some(batch) => orders.batch(batch).into_iter().collect(),
            None if query == OrderQuery::default() => orders.batches().collect(),
            None => Vec::new(),
        };
        let batch_row = |batch: &Batch| batch_row(orders, batch, now);
        let arms = match &query.customer {
            Some(customer) => arms(&fold, customer, now)?,
            None => Vec::new(),
        };
        Ok(OrderList { batches: batches.into_iter().map(batch_row).collect(), orders: rows, arms })
    }

    /// All orders, or those of a customer's machines or of a status, by machine.
    ///
    /// # Errors
    /// When the customer is not known, or the vault cannot be read.
    pub fn order_rows(
        &self,
        customer: Option<&CustomerId>,
        status: Option<&str>,
    ) -> Result<Vec<OrderRow>, Fault> {
        let now = self.books.clock().now();
        let fold = self.books.read(Fold::clone);
        let orders = fold.orders();
        let query = OrderQuery { customer: customer.cloned(), ..OrderQuery::default() };
        let all = query.named(&fold)?.unwrap_or_else(|| orders.iter().collect());
        let with_status = all.into_iter().map(|order| (order, orders.status(order, now)));
        let wanted = with_status.filter(|(_, of)| status.is_none_or(|status| of.name() == status));
        wanted.map(|(order, status)| self.order_row(order, status)).collect()
    }

    fn order_row(&self, order: &Order, status: Status<'_>) -> Result<OrderRow, Fault> {
        let detail = match status {
            Status::Ordered(waits) => waits.to_string(),
            Status::Superseded { by } => format!("{by} took its place"),
            _ => status.detail().to_owned(),
        };
        let since = match status {
            Status::Ordered(_) | Status::Superseded { .. } | Status::Failed { end: None } => None,
            Status::Delivered { at }
            | Status::Expired { at }
            | Status::Cancelled { at }
            | Status::Confirmed { at, .. }
            | Status::Contradicted { at, .. }
            | Status::Doing { since: at } => Some(at),
            Status::Done(end) | Status::Refused(end) | Status::Failed { end: Some(end) } => Some(end.at),
        };
        Ok(OrderRow {
            order: order.id.clone(),
            batch: order.batch.clone(),
            host_name: self.name(VaultRow::HostName(&order.machine))?,
            machine: order.machine.clone(),
            action: words(order.action(), order.uninstall),
            product: order.product.clone(),
            status: status.name().to_owned(),
            detail,
            since,
            expires_at: order.expires_at,
        })
    }

    /// Folds facts on a copy, so that what would be refused is not written.
    pub(super) async fn tried(&self, caller: &Caller, reason: &str, facts: &[Fact]) -> Result<(), Fault> {
        checked_reason(reason)?;
        let (mut fold, recorded_at_ms) = (self.books.read(Fold::clone), self.books.clock().now_ms());
        let record = |fact: &Fact| JournalRecord {
            recorded_at_ms,
            actor: caller.operator().to_string(),
            reason: reason.to_owned(),
            fact: Some(fact.clone()),
            ..Default::default()
        };
        let records: Vec<_> = facts.iter().map(|fact| record(fact).encode_to_vec()).collect();
        let tried = tokio::task::spawn_blocking(move || -> Result<(), Fault> {
            for record in records {
                if let Verdict::Refused(refusal) = fold.apply(&record)? {
                    return Err(Fault::OrderRefused(refusal));
                }
            }
            Ok(())
        });
        tried.await?
    }

    async fn write_side_by_side(
        &self,
        caller: &Caller,
        reason: &str,
        facts: Vec<Fact>,
    ) -> Result<Position, Fault> {
        let mut facts = facts.into_iter().peekable();
        let mut position = Position(0);
        while facts.peek().is_some() {
            let some = facts.by_ref().take(FACTS_AT_ONCE).collect();
            position = self.books.write_all(caller, reason, some).await?;
        }
        Ok(position)
    }
}

/// A batch with how its orders stand.
fn batch_row(orders: &Orders, batch: &Batch, now: Timestamp) -> BatchRow {
    let mut statuses = BTreeMap::new();
    for order in orders.of_batch(batch) {
        *statuses.entry(orders.status(order, now).name().to_owned()).or_default() += 1;
    }
    BatchRow {
        batch: batch.id.clone(),
        action: words(batch.action(), false),
        scope: batch.scope.clone(),
        by: batch.requested.by.clone(),
        at: batch.requested.at,
        reason: batch.reason.clone(),
        expires_at: batch.expires_at,
        confirmed_by: batch.confirmed.as_ref().map(|confirmed| confirmed.by.clone()),
        held: batch.is_held(),
        statuses,
    }
}

/// Who wants what, why, and the orders behind it.
async fn gathered(
    mut pieces: Streaming<wire::PlaceOrdersPiece>,
) -> Result<(wire::OrdersRequested, String, Vec<wire::SealedOrder>), Fault> {
    let first = pieces.message().await.map_err(|_| cut_off())?.unwrap_or_default();
    let wire::PlaceOrdersPiece { request: Some(request), reason, mut orders } = first else {
        return Err(Fault::value("the request", "is missing"));
    };
    while let Some(more) = pieces.message().await.map_err(|_| cut_off())? {
        orders.extend(more.orders);
        if orders.len() > ORDERS_MAX {
            return Err(too_many());
        }
    }
    Ok((request, reason, orders))
}

fn cut_off() -> Fault {
    Fault::value("the orders", "did not come whole")
}

fn too_many() -> Fault {
    Fault::value("the orders", format!("are more than {ORDERS_MAX}: name a customer or a product"))
}

/// What an order does, in words.
pub fn words(action: wire::Action, uninstall: bool) -> String {
    let words = match action {
        wire::Action::SwitchOff if uninstall => "uninstall",
        wire::Action::SwitchOff => "switch off",
        wire::Action::SwitchOn => "switch on",
        wire::Action::Unenrol => "unenrol",
        wire::Action::ReportNow => "report",
        wire::Action::RenewKeys => "renew keys",
        wire::Action::Cancel => "cancel",
        wire::Action::Unspecified => "unknown",
    };
    words.to_owned()
}

impl TryFrom<wire::OrderWish> for Wish {
    type Error = Fault;

    fn try_from(wish: wire::OrderWish) -> Result<Self, Fault> {
        Ok(match wish {
            wire::OrderWish::SwitchOff => Self::SwitchOff,
            wire::OrderWish::SwitchOn => Self::SwitchOn,
            wire::OrderWish::Uninstall => Self::Uninstall,
            wire::OrderWish::Unenrol => Self::Unenrol,
            wire::OrderWish::Unspecified => return Err(Fault::value("the wish", "is missing")),
        })
    }
}
