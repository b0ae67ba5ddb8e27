//! Customers that leave, do not pay, or come back, and the distributor's side of switching. Invariant: evidence and
//! statements stay as they are; a licence is suspended for the count by a receipt and by nothing else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seatbeat_ledger::calendar::Period;
use seatbeat_ledger::fold::Fold;
use seatbeat_ledger::mapping::Fields;
use seatbeat_ledger::orders::Shown;
use seatbeat_ledger::record::{Sku, State};
use seatbeat_ledger::sku::{Billing, billing};
use seatbeat_ledger::standing::CustomerStanding;
use seatbeat_ledger::usage::LicenceStep;
use seatbeat_proto::ids::{CustomerId, TokenId};
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{self, CustomerLeft, CustomerReturned, TokenRevoked};
use serde::{Deserialize, Serialize};

use super::Console;
use super::auth::Caller;
use super::command::checked_reason;
use super::fault::{Fault, instant};
use super::named::Around;
use super::orders::switched_as;
use crate::books::Actor;
use crate::distributor::Manual;
use crate::distributor::arm::{ArmError, Licence, Receipt, Step, carry_out};
use crate::jobs::close::running_period;
use crate::jobs::upload::desk::Desk;
use crate::journal::Position;

/// Both arms of a customer's SKU, side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmRow {
    /// Of what.
    pub sku: Sku,
    /// Since when the distributor has it suspended; none: it is on there.
    pub suspended_since: Option<Timestamp>,
    /// Machines on which a product of it was active when they reported last.
    pub active: u32,
    /// Machines on which it was switched off by an order, and what was reported since bears that out.
    pub switched_off: u32,
    /// Machines with an order that is on its way, or was carried out and is not confirmed yet.
    pub in_flight: u32,
}

impl Console {
    /// A customer leaves for good, is suspended, or comes back; what is so already stays so. Who left for good gets no
    /// machine in any more: the tokens are revoked.
    ///
    /// # Errors
    /// When the customer is not known, no reason is given, or it cannot be written.
    pub async fn depart_customer(
        &self,
        caller: &Caller,
        customer: CustomerId,
        departure: wire::Departure,
        reason: &str,
    ) -> Result<(Vec<TokenId>, Position), Fault> {
        if reason.trim().is_empty() {
            return Err(Fault::value("the reason", "is missing: it is asked for when somebody looks back"));
        }
        let left = |for_good| Fact::CustomerLeft(CustomerLeft { customer: customer.to_string(), for_good });
        let mut tokens = Vec::new();
        let mut facts = match departure {
            wire::Departure::Offboarded => vec![left(true)],
            wire::Departure::Suspended => vec![left(false)],
            wire::Departure::Returned => {
                vec![Fact::CustomerReturned(CustomerReturned { customer: customer.to_string() })]
            }
            wire::Departure::Unspecified => return Err(Fault::value("the departure", "is missing")),
        };
        let _one_at_a_time = self.adding.lock().await;
        let is_so = self.books.read(|fold| match fold.registry().standing(&customer) {
            CustomerStanding::Active => departure == wire::Departure::Returned,
            CustomerStanding::Suspended(_) => departure == wire::Departure::Suspended,
            CustomerStanding::Left(_) => departure == wire::Departure::Offboarded,
        });
        if is_so && self.books.read(|fold| fold.registry().has_customer(&customer)) {
            facts.clear();
        }
        if departure == wire::Departure::Offboarded {
            tokens = self.books.read(|fold| {
                let theirs = fold
                    .registry()
                    .tokens()
                    .filter(|(_, token)| token.customer == customer && !token.revoked);
                theirs.map(|(id, _)| id.clone()).collect()
            });
            let revoked = |token: &TokenId| Fact::TokenRevoked(TokenRevoked { token: token.to_string() });
            facts.extend(tokens.iter().map(revoked));
        }
        if facts.is_empty() {
            return Ok((tokens, Position(self.books.read(Fold::position))));
        }
        self.tried(caller, reason, &facts).await?;
        let position = self.books.write_all(caller, reason, facts).await?;
        Ok((tokens, position))
    }

    /// Suspends or resumes a customer's SKU at the distributor, or on the vendor's platform, through a destination; or
    /// puts on record what an operator states to have done there.
    ///
    /// # Errors
    /// When the receipt is none, the customer or the SKU is not known, no destination can, it refuses, or it cannot be
    /// written.
    pub async fn switch_sku(
        &self,
        caller: &Caller,
        asked: wire::SwitchSkuRequest,
    ) -> Result<Position, Fault> {
        let now = self.books.clock().now();
        checked_reason(&asked.reason)?;
        let customer: CustomerId = asked.customer.parse()?;
        let (is_known, around) =
            self.books.read(|fold| (fold.registry().has_customer(&customer), Around::of(fold, now)));
        if !is_known {
            return Err(Fault::UnknownCustomer(customer));
        }
        let licence = Licence { customer, sku: around.named()?.sku(&asked.sku)?, mapped: Fields::new() };
        let step = if asked.suspend { Step::Suspend } else { Step::Resume };
        let by = (caller.into(), asked.reason.as_str());
        if asked.by_connector {
            return self.switch_there(&asked.destination, licence, step, by).await;
        }
        let at = if asked.at_ms == 0 { now } else { instant("`at`", asked.at_ms)? };
        let stated = Manual::new(Receipt { id: asked.receipt.trim().to_owned(), at });
        let (_, position) = carry_out(&self.books, &stated, step, &licence, &asked.receipt, by).await?;
        Ok(position)
    }

    /// Asked again before its receipt is on record it has the same key, and one effect there.
    async fn switch_there(
        &self,
        destination: &str,
        mut licence: Licence,
        step: Step,
        by: (Actor<'_>, &str),
    ) -> Result<Position, Fault> {
        let distributor = self.distributor_of(&licence.sku, running_period(&self.books))?;
        let is_asked = |name: &str, desk: &Desk| match destination {
            "" => desk.destination().distributor == distributor && desk.connector().arm().is_some(),
            asked => asked == name,
        };
        let found: Vec<_> = self.uploads.desks().filter(|(name, desk)| is_asked(name, desk)).collect();
        let (name, desk) = match found.as_slice() {
            [(name, desk)] => (*name, *desk),
            [] => {
                let why = format!(
                    "can {} SKU `{}` of `{distributor}`: do it in the vendor's or distributor's console, and state \
                     the receipt",
                    step.name(),
                    licence.sku
                );
                return Err(Fault::value("no destination", why));
            }
            several => {
                let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
                return Err(Fault::value(
                    "the destination",
                    format!("is one of {}: name it", names.join(", ")),
                ));
            }
        };
        let arm = desk.connector().arm().ok_or_else(|| ArmError::Unsupported {
            arm: desk.destination().connector.name(),
            act: step.name(),
            sku: licence.sku.clone(),
        })?;
        let key = (licence.customer.clone(), licence.sku.clone());
        licence.mapped = desk.mapping().remove(&key).ok_or_else(|| {
            Fault::value("the customer's SKU", format!("is not mapped for destination `{name}`"))
        })?;
        let steps = self.books.read(|fold| {
            let steps = fold.usage().licence(&licence.customer, &licence.sku);
            steps.map_or(0, |steps| steps.len())
        });
        let key = format!("{}-{}-{}-{steps}", step.name(), licence.customer, licence.sku);
        let (_, position) = carry_out(&self.books, arm, step, &licence, &key, by).await?;
        Ok(position)
    }
}

/// Both arms of a customer, by SKU: those that a product of its machines is billed as, or that were ever suspended.
///
/// # Errors
/// When the policy is none that this version reads.
pub(super) fn arms(fold: &Fold, customer: &CustomerId, now: Timestamp) -> Result<Vec<ArmRow>, Fault> {
    let usage = fold.usage();
    let period = Period::of_day(usage.zone().usage_day(now));
    let policy = fold.terms().policy(period)?;
    let mut rows: BTreeMap<Sku, ArmRow> = BTreeMap::new();
    let blank = |sku: &Sku| ArmRow {
        sku: sku.clone(),
        suspended_since: usage.licence(customer, sku).and_then(|steps| {
            let last = steps.last()?;
            (last.1 == LicenceStep::Suspended).then_some(last.0)
        }),
        active: 0,
        switched_off: 0,
        in_flight: 0,
    };
    for (id, machine) in fold.registry().machines_of(customer, None) {
        let orders = fold.orders().of_machine(id);
        for found in machine.last.iter().flat_map(|last| last.products.iter()) {
            let product = match found.state {
                State::Active => found.product.clone(),
                _ => switched_as(orders, &found.product),
            };
            let Billing::Sku(sku) = billing(usage, &policy, customer, &product, now) else { continue };
            let row = rows.entry(sku.clone()).or_insert_with(|| blank(sku));
            let newest = orders.iter().rev().find(|order| order.product.as_ref() == Some(&product));
            let is_confirmed =
                newest.is_some_and(|order| matches!(order.shown(), Some(Shown::Confirmed { .. })));
            row.active += u32::from(found.state == State::Active);
            row.switched_off += u32::from(found.state == State::SwitchedOff && is_confirmed);
            row.in_flight += u32::from(newest.is_some_and(|order| {
                let status = fold.orders().status(order, now);
                !status.is_over() || status.name() == "done"
            }));
        }
    }
    Ok(rows.into_values().collect())
}
