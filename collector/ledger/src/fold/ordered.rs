//! Orders in the fold. Invariant: a field that is not what it has to be refuses its record and stops nothing; what an
//! order leads to in the count comes from its machine's signed word alone.

use jiff::Timestamp;
use seatbeat_proto::ids::{BatchId, MachineId, OperatorId, OrderId, ProductId};
use seatbeat_proto::instant;
use seatbeat_proto::wire::{self, Action};

use super::{Entry, Fold, Stop, refuse_unless};
use crate::orders::{Answer, ByOperator, Order, Orders, Requested, Scope};
use crate::record::Event;
use crate::registry::Refusal;

impl Fold {
    /// Orders, and whose orders machines take.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    pub(super) fn request_orders(
        &mut self,
        entry: &Entry,
        fact: &wire::OrdersRequested,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let scope = fact.scope.as_ref().map(scope).transpose()?.unwrap_or_default();
        if let Some(customer) = &scope.customer {
            refuse_unless(self.registry.has_customer(customer), Refusal::UnknownCustomer)?;
        }
        let request = Requested {
            id: parsed(&fact.batch)?,
            position: entry.position,
            action: fact.action(),
            scope,
            machines: fact.machines,
            orders: fact.orders,
            expires_at: instant_of(fact.expires_at_ms)?,
            by: by(entry, at),
            reason: entry.record.reason.clone(),
        };
        Ok(self.orders.request(request)?)
    }

    pub(super) fn confirm_orders(
        &mut self,
        entry: &Entry,
        fact: &wire::OrdersConfirmed,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let operator: OperatorId = parsed(&entry.record.actor).map_err(|_| Refusal::UnknownOperator)?;
        refuse_unless(self.operators.let_in(&operator).is_some(), Refusal::UnknownOperator)?;
        Ok(self.orders.confirm(&parsed(&fact.batch)?, by(entry, at))?)
    }

    pub(super) fn place_order(
        &mut self,
        entry: &Entry,
        fact: &wire::OrderPlaced,
        at: Timestamp,
    ) -> Result<(), Stop> {
        match (&fact.order, &fact.request) {
            (Some(signed), None) => self.place_signed(entry, signed),
            (None, Some(request)) => self.place_request(entry, request, &parsed(&fact.batch)?, at),
            (None, None) => Err(entry.invalid("order", "it is missing").into()),
            (Some(_), Some(_)) => Err(Refusal::Malformed.into()),
        }
    }

    fn place_signed(&mut self, entry: &Entry, signed: &wire::Signed) -> Result<(), Stop> {
        let order: wire::Order = entry.decode(&signed.payload)?;
        let machine: MachineId = entry.id("machine", &order.machine)?;
        refuse_unless(self.registry.machines.contains_key(&machine), Refusal::UnknownMachine)?;
        let product =
            if order.product.is_empty() { None } else { Some(entry.id("product", &order.product)?) };
        let id: OrderId = entry.id("order", &order.order)?;
        // Such an order was never read closer than this.
        let instant = |ms| instant::from_ms(ms).unwrap_or_default();
        let times = (instant(order.issued_at_ms), instant(order.expires_at_ms));
        Ok(self.orders.place_signed(Order::new(id, machine, product, None, times, &order))?)
    }

    fn place_request(
        &mut self,
        entry: &Entry,
        request: &wire::Order,
        batch: &BatchId,
        at: Timestamp,
    ) -> Result<(), Stop> {
        refuse_unless(request.sequence == 0 && request.epoch == 0, Refusal::Malformed)?;
        refuse_unless(matches!(request.secrets_hash.len(), 0 | 32), Refusal::Malformed)?;
        let machine: MachineId = parsed(&request.machine)?;
        let owner = &self.registry.machine(&machine).ok_or(Refusal::UnknownMachine)?.customer;
        let asked = self.orders.batch(batch).ok_or(Refusal::UnknownBatch)?;
        let is_asked = asked.scope.customer.as_ref().is_none_or(|customer| customer == owner);
        refuse_unless(is_asked, Refusal::ForeignMachine)?;
        let product: Option<ProductId> =
            if request.product.is_empty() { None } else { Some(parsed(&request.product)?) };
        let times = (instant_of(request.issued_at_ms)?, instant_of(request.expires_at_ms)?);
        refuse_unless(at < times.1, Refusal::OrderOver)?;
        let placed = wire::Order { sequence: entry.position, epoch: self.orders.epoch(), ..request.clone() };
        let order =
            Order::new(parsed(&request.order)?, machine, product, Some(batch.clone()), times, &placed);
        Ok(self.orders.place(batch, order, &entry.record.actor)?)
    }

    pub(super) fn sign_order(&mut self, fact: &wire::OrderSigned, at: Timestamp) -> Result<(), Stop> {
        let signed = fact.order.as_ref().ok_or(Refusal::Malformed)?;
        Ok(self.orders.sign(signed, at)?)
    }

    pub(super) fn cancel_orders(
        &mut self,
        entry: &Entry,
        fact: &wire::OrderCancelled,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let batch = if fact.batch.is_empty() { None } else { Some(parsed(&fact.batch)?) };
        let order = if fact.order.is_empty() { None } else { Some(parsed(&fact.order)?) };
        Ok(self.orders.cancel(batch.as_ref(), order.as_ref(), entry.position, &by(entry, at))?)
    }

    pub(super) fn set_order_keys(
        &mut self,
        entry: &Entry,
        fact: &wire::OrderKeysSet,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let signed = fact.keys.as_ref().ok_or(Refusal::Malformed)?;
        let service_key = self.founded.as_ref().map(|founded| founded.service_key);
        Ok(self.orders.set_keys(signed, service_key, &by(entry, at))?)
    }

    pub(super) fn set_order_limit(&mut self, fact: &wire::OrderLimitSet) {
        self.orders.set_limit(fact.machines_a_day);
    }

    pub(super) fn begin_epoch(&mut self, fact: &wire::EpochBegan) -> Result<(), Stop> {
        Ok(self.orders.begin_epoch(fact.epoch)?)
    }

    /// A machine's signed word that it carried out an order switches the product for the count; that its agent has let
    /// itself go retires it.
    pub(super) fn switched(&mut self, answer: &Answer) -> Option<Event> {
        let machine = answer.machine.clone();
        match self.orders.answer(answer)? {
            (Action::SwitchOff, Some(product)) => Some(Event::SwitchedOff { machine, product }),
            (Action::SwitchOn, Some(product)) => Some(Event::SwitchedOn { machine, product }),
            (Action::Unenrol, None) => Some(Event::MachineRetired { machine }),
            _ => None,
        }
    }
}

fn by(entry: &Entry, at: Timestamp) -> ByOperator {
    ByOperator { by: entry.record.actor.clone(), at }
}

fn scope(scope: &wire::OrderScope) -> Result<Scope, Refusal> {
    fn named<T: std::str::FromStr>(text: &str) -> Result<Option<T>, Refusal> {
        if text.is_empty() { Ok(None) } else { parsed(text).map(Some) }
    }
    Ok(Scope {
        customer: named(&scope.customer)?,
        machine: named(&scope.machine)?,
        licence: named(&scope.licence)?,
        product: named(&scope.product)?,
    })
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::Malformed)
}

fn instant_of(ms: i64) -> Result<Timestamp, Refusal> {
    instant::from_ms(ms).map_err(|_| Refusal::Malformed)
}
