//! What records change about orders. Invariant: a refused change changes nothing; what is refused here is refused at
//! the record's position, for everybody who folds the same journal.

use std::sync::Arc;

use jiff::Timestamp;
use prost::Message as _;
use seatbeat_proto::catalogue::Catalogue;
use seatbeat_proto::ids::{BatchId, MachineId, OrderId, ProductId};
use seatbeat_proto::wire::{self, Action};

use super::batch::is_destructive;
use super::watch::Watch;
use super::{
    Batch, ByOperator, Cancelled, End, Order, Orders, Outcome, Scope, Signature, Status, Told, Waits,
};
use crate::record::State;
use crate::registry::{Product, Refusal};

/// Most machines of one batch: everybody's, in the largest house.
const MACHINES_MAX: u32 = 1_000_000;

/// Most orders of one batch for each of its machines: all products that one machine can have, and the unenrolling.
const ORDERS_A_MACHINE_MAX: u32 = 201;

/// What an operator asks for, as its record says.
pub(crate) struct Requested {
    pub id: BatchId,
    pub position: u64,
    pub action: Action,
    pub scope: Scope,
    pub machines: u32,
    pub orders: u32,
    pub expires_at: Timestamp,
    pub by: ByOperator,
    pub reason: String,
}

/// What a machine says of an order.
pub(crate) struct Answer<'a> {
    pub machine: &'a MachineId,
    pub order: &'a OrderId,
    pub told: Told,
    pub detail: &'a str,
    pub at: Timestamp,
    pub received_at: Timestamp,
}

impl Orders {
    pub(crate) fn request(&mut self, new: Requested) -> Result<(), Refusal> {
        let may_be_asked = matches!(new.action, Action::SwitchOff | Action::SwitchOn | Action::Unenrol);
        let fits = (1..=MACHINES_MAX).contains(&new.machines)
            && (new.machines..=new.machines.saturating_mul(ORDERS_A_MACHINE_MAX)).contains(&new.orders);
        if !may_be_asked || !fits || new.expires_at <= new.by.at {
            return Err(Refusal::Malformed);
        }
        if self.places.contains_key(&new.id) {
            return Err(Refusal::Repeated);
        }
        let held = is_destructive(new.action) && self.needs_second(new.machines, new.by.at);
        Arc::make_mut(&mut self.places).insert(new.id.clone(), self.batches.len());
        let batch = Batch {
            id: new.id,
            position: new.position,
            action: new.action.into(),
            scope: new.scope,
            machines: new.machines,
            orders: new.orders,
            expires_at: new.expires_at,
            requested: new.by,
            reason: new.reason,
            held,
            confirmed: None,
            cancelled: None,
            placed: Vec::new(),
            touched: 0,
        };
        Arc::make_mut(&mut self.batches).push(Arc::new(batch));
        Ok(())
    }

    /// Another operator than the one who asked lets a held batch go on.
    pub(crate) fn confirm(&mut self, batch: &BatchId, by: ByOperator) -> Result<(), Refusal> {
        let batch = self.batch_mut(batch)?;
        if batch.cancelled.is_some() || by.at >= batch.expires_at {
            return Err(Refusal::OrderOver);
        }
        if !batch.is_held() {
            return Err(Refusal::NotHeld);
        }
        if batch.requested.by == by.by {
            return Err(Refusal::SameOperator);
        }
        batch.confirmed = Some(by);
        Ok(())
    }

    /// Places an order of a batch; what waited for the same product of the machine lives no longer.
    pub(crate) fn place(&mut self, batch: &BatchId, order: Order, by: &str) -> Result<(), Refusal> {
        let of_batch = |one: &&Order| one.batch.as_ref() == Some(batch);
        let mut before = self.of_machine(&order.machine).iter().filter(of_batch).peekable();
        let is_touched = before.peek().is_some();
        let is_twice = before.any(|one| one.product == order.product);
        let asked = self.batch(batch).ok_or(Refusal::UnknownBatch)?;
        if asked.cancelled.is_some() || order.issued_at >= order.expires_at {
            return Err(Refusal::OrderOver);
        }
        if asked.requested.by != by {
            return Err(Refusal::ForeignBatch);
        }
        if self.machines.contains_key(&order.id) || is_twice {
            return Err(Refusal::Repeated);
        }
        let is_full = asked.is_whole() || (!is_touched && asked.touched == asked.machines);
        if is_full || !asked.asks_for(&order) {
            return Err(Refusal::OutsideBatch);
        }
        let asked = self.batch_mut(batch)?;
        asked.touched += u32::from(!is_touched);
        asked.placed.push((order.machine.clone(), order.id.clone()));
        for older in &mut self.by_machine.get_or_default(&order.machine).0 {
            if older.batch.is_some() && older.product == order.product && older.is_live() {
                older.superseded_by = Some(order.id.clone());
            }
        }
        self.keep(order);
        Ok(())
    }

    /// Keeps an order of before there were batches: its results count, and it goes to nobody.
    pub(crate) fn place_signed(&mut self, order: Order) -> Result<(), Refusal> {
        if self.machines.contains_key(&order.id) {
            return Err(Refusal::Repeated);
        }
        self.keep(order);
        Ok(())
    }

    fn keep(&mut self, order: Order) {
        Arc::make_mut(&mut self.machines).insert(order.id.clone(), order.machine.clone());
        self.by_machine.get_or_default(&order.machine.clone()).0.push(order);
    }

    /// Takes the signature of an order that waits for nothing else.
    pub(crate) fn sign(&mut self, signed: &wire::Signed, at: Timestamp) -> Result<(), Refusal> {
        let said = wire::Order::decode(signed.payload.as_slice()).map_err(|_| Refusal::Malformed)?;
        let id: OrderId = said.order.parse().map_err(|_| Refusal::Malformed)?;
        let order = self.order(&id).ok_or(Refusal::UnknownOrder)?;
        match self.status(order, at) {
            Status::Ordered(Waits::Orders) => return Err(Refusal::BatchNotWhole),
            Status::Ordered(Waits::SecondOperator) => return Err(Refusal::Held),
            Status::Ordered(Waits::Signature) | Status::Delivered { .. } if !self.is_signed(order) => {}
            Status::Ordered(_) | Status::Delivered { .. } => return Err(Refusal::Repeated),
            _ => return Err(Refusal::OrderOver),
        }
        if order.to_wire().encode_to_vec() != signed.payload {
            return Err(Refusal::OtherOrder);
        }
        let key = self.keys.signer_of(signed).ok_or(Refusal::BadSignature)?;
        let machine = order.machine.clone();
        let order = self.order_mut(&machine, &id).ok_or(Refusal::UnknownOrder)?;
        order.signature = Some(Signature { key, at, bytes: signed.signature.clone() });
        Ok(())
    }

    /// Cancels what is not begun of a batch, or one order.
    pub(crate) fn cancel(
        &mut self,
        batch: Option<&BatchId>,
        order: Option<&OrderId>,
        position: u64,
        by: &ByOperator,
    ) -> Result<(), Refusal> {
        let members: Vec<(MachineId, OrderId)> = match (batch, order) {
            (batch, Some(order)) => {
                let one = self.order(order).ok_or(Refusal::UnknownOrder)?;
                if one.batch.is_none() || batch.is_some_and(|batch| one.batch.as_ref() != Some(batch)) {
                    return Err(Refusal::OutsideBatch);
                }
                if one.is_begun() {
                    return Err(Refusal::OrderBegun);
                }
                if self.status(one, by.at).is_over() {
                    return Err(Refusal::OrderOver);
                }
                vec![(one.machine.clone(), order.clone())]
            }
            (Some(batch), None) => {
                let batch = self.batch_mut(batch)?;
                if batch.cancelled.is_some() || by.at >= batch.expires_at {
                    return Err(Refusal::OrderOver);
                }
                batch.cancelled = Some(by.clone());
                batch.placed.clone()
            }
            (None, None) => return Err(Refusal::Malformed),
        };
        let epoch = self.epoch;
        for (machine, id) in members {
            let Some(order) = self.order_mut(&machine, &id) else { continue };
            if order.is_live() && by.at < order.expires_at {
                let by_whom = by.by.clone();
                order.cancelled =
                    Some(Cancelled { position, epoch, at: by.at, by: by_whom, answered: false });
            }
        }
        Ok(())
    }

    pub(crate) fn set_keys(
        &mut self,
        signed: &wire::Signed,
        service_key: Option<[u8; 32]>,
        by: &ByOperator,
    ) -> Result<(), Refusal> {
        Arc::make_mut(&mut self.keys).set(signed, service_key, &by.by, by.at)
    }

    pub(crate) fn set_limit(&mut self, machines_a_day: u32) {
        self.limit = machines_a_day;
    }

    pub(crate) fn begin_epoch(&mut self, epoch: u64) -> Result<(), Refusal> {
        if epoch <= self.epoch {
            return Err(Refusal::NotNewer);
        }
        self.epoch = epoch;
        Ok(())
    }

    /// What a machine says of an order of its own; when it says that a product is switched, or that it lets itself go,
    /// what and how.
    pub(crate) fn answer(&mut self, answer: &Answer) -> Option<(Action, Option<ProductId>)> {
        let is_known = self.of_machine(answer.machine).iter().any(|one| one.id == *answer.order);
        if !is_known {
            self.answer_cancel(answer);
            return None;
        }
        let order = self.order_mut(answer.machine, answer.order)?;
        let is_done = answer.told == Told::Ended(Outcome::Done);
        let switched = || Some((order.action(), order.product.clone()));
        if order.batch.is_none() && order.end.is_some() {
            // As it was counted before there were batches: each such word switches the product again.
            return if is_done { switched() } else { None };
        }
        // Nobody else can have given it to the machine.
        if order.end.is_some() || (order.batch.is_some() && order.signature.is_none()) {
            return None;
        }
        let switched = if is_done { switched() } else { None };
        order.hear(answer);
        let (begun, sequence, product) =
            (order.doing_at.is_some() || is_done, order.sequence, order.product.clone());
        if begun {
            for older in &mut self.by_machine.get_or_default(answer.machine).0 {
                if older.sequence < sequence && older.product == product {
                    older.is_replaced = true;
                }
            }
        }
        switched
    }

    fn answer_cancel(&mut self, answer: &Answer) {
        let is_it = |one: &Order| {
            one.cancelled.as_ref().is_some_and(|cancelled| !cancelled.answered)
                && one.cancel_id() == *answer.order
        };
        let found = self.of_machine(answer.machine).iter().find(|one| is_it(one)).map(|one| one.id.clone());
        let order = found.and_then(|id| self.order_mut(answer.machine, &id));
        if let (Some(cancelled), Told::Ended(_)) =
            (order.and_then(|order| order.cancelled.as_mut()), answer.told)
        {
            cancelled.answered = true;
        }
    }

    /// Compares a machine's report with what it said it did. Nothing is copied or changed where nothing is new.
    pub(crate) fn compare(&mut self, machine: &MachineId, products: &[Product], at: Timestamp) {
        let Some(all) = self.by_machine.get(machine) else { return };
        if !all.0.iter().any(|order| order.compared(products, at) != order.watch) {
            return;
        }
        for order in &mut self.by_machine.get_or_default(machine).0 {
            order.watch = order.compared(products, at);
        }
    }

    fn batch_mut(&mut self, batch: &BatchId) -> Result<&mut Batch, Refusal> {
        let place = *self.places.get(batch).ok_or(Refusal::UnknownBatch)?;
        Ok(Arc::make_mut(&mut Arc::make_mut(&mut self.batches)[place]))
    }

    fn order_mut(&mut self, machine: &MachineId, order: &OrderId) -> Option<&mut Order> {
        self.by_machine.get_mut(machine)?.0.iter_mut().find(|one| one.id == *order)
    }
}

impl Batch {
    /// Whether an order is one of those that it asked for, as far as a machine's owner does not matter.
    fn asks_for(&self, order: &Order) -> bool {
        let of_action = match self.action() {
            // What runs is switched off before the machine is left alone.
            Action::Unenrol => matches!(order.action(), Action::SwitchOff | Action::Unenrol),
            action => order.action() == action,
        };
        let of_machine = self.scope.machine.as_ref().is_none_or(|machine| *machine == order.machine);
        let of_product = self
            .scope
            .product
            .as_ref()
            .is_none_or(|product| order.product.as_ref().is_none_or(|one| one == product));
        of_action
            && of_machine
            && of_product
            && order.product.is_none() == (order.action() == Action::Unenrol)
            && order.expires_at <= self.expires_at
    }
}

impl Order {
    /// Takes in what the machine says: a final word stays.
    fn hear(&mut self, answer: &Answer) {
        match answer.told {
            Told::Taken if self.taken_at.is_none() => self.taken_at = Some(answer.at),
            Told::Doing if self.doing_at.is_none() => self.doing_at = Some(answer.at),
            Told::Taken | Told::Doing => {}
            Told::Ended(outcome) => {
                let (at, received_at) = (answer.at, answer.received_at);
                self.end = Some(Box::new(End { outcome, at, received_at, detail: answer.detail.to_owned() }));
                let is_switch = matches!(self.action(), Action::SwitchOff | Action::SwitchOn);
                if outcome == Outcome::Done && is_switch {
                    self.watch = Some(Watch::new());
                }
                if let Some(cancelled) = &mut self.cancelled {
                    cancelled.answered = true;
                }
            }
        }
    }

    /// What is known of it with one more report.
    fn compared(&self, products: &[Product], at: Timestamp) -> Option<Watch> {
        let (Some(watch), Some(end), Some(product)) = (self.watch, &self.end, &self.product) else {
            return self.watch;
        };
        if self.is_replaced {
            return self.watch;
        }
        // What is named without its edition shows as one of them while it runs.
        let is_it = |found: &ProductId| {
            found == product || Catalogue::embedded().product_of(found).is_some_and(|of| of.id == *product)
        };
        let states = products.iter().filter(|found| is_it(&found.product)).map(|found| found.state);
        let state = states.clone().find(|state| *state == State::Active).or_else(|| states.clone().next());
        Some(watch.with(self.action(), state, end.at, at))
    }
}
