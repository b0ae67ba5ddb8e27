//! Orders placed and signed in one go, where the collector keeps the key that signs. Invariant: what is ordered is what
//! was shown, by its digest; the key is opened for that one batch by whoever knows its passphrase, before anything is
//! written, and is gone from memory afterwards.

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use seatbeat_ledger::orders::Scope;
use seatbeat_proto::hex;
use seatbeat_proto::ids::{BatchId, CustomerId, MachineId, OrderId, ProductId, TokenId};
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire;
use serde::Serialize;
use zeroize::Zeroizing;

use super::make::{Made, Secrets, Terms, signed};
use super::{Asked, Cannot, OrderPlan, PlanRow, Wish};
use crate::config::OrderKey;
use crate::console::Console;
use crate::console::auth::Caller;
use crate::console::command::checked_reason;
use crate::console::fault::Fault;
use crate::console::sign_in::password::BYTES_MAX;
use crate::order_key::KeyError;

/// What an operator has seen and agrees to.
pub struct Agreed {
    /// What is wanted.
    pub wish: Wish,
    /// Where.
    pub scope: Scope,
    /// Of the plan that was shown.
    pub digest: String,
    /// How many machines are told, as they typed it in; none: a single one was named.
    pub machines: Option<u32>,
    /// Given up what was not begun by then.
    pub expires_at: Timestamp,
    /// Without the hour that lies between two switches of a product.
    pub at_once: bool,
    /// What the products are told.
    pub secrets: Secrets,
    /// Opens the order key; not looked at where nothing is signed.
    pub passphrase: Zeroizing<String>,
    /// Why, in their words.
    pub reason: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The batch; none: there was nothing to order.
    pub batch: Option<BatchId>,
    /// What it waits for.
    pub waits: Waits,
    /// Tokens that were revoked with it.
    pub revoked: Vec<TokenId>,
}

/// What a batch waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// For its machines: it is signed.
    Machines,
    /// For a second operator.
    Second,
    /// For a signature, by who keeps the key.
    Signature,
    /// For nothing.
    Nothing,
}

/// Who can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// Whoever knows the passphrase of the key that the collector keeps.
    Here,
    /// An operator on a workstation.
    Operator,
    /// Nobody: there is no order key.
    Nobody,
}

/// Orders that are ready to be placed.
struct Ready {
    made: Made,
    key: Option<SigningKey>,
    reason: String,
}

/// What a plan comes to, without what changes by itself: names, presence and the clock.
#[derive(Serialize)]
struct Digested<'a> {
    wish: Wish,
    customer: Option<&'a CustomerId>,
    machine: Option<&'a MachineId>,
    licence: Option<String>,
    product: Option<&'a ProductId>,
    needs_second: bool,
    keys_revision: u64,
    rows: Vec<DigestedRow<'a>>,
}

#[derive(Serialize)]
struct DigestedRow<'a> {
    machine: &'a MachineId,
    customer: &'a CustomerId,
    product: Option<&'a ProductId>,
    how: &'a [String],
    cannot: Option<Cannot>,
    asked: (Asked, Asked),
    supersedes: Option<&'a OrderId>,
}

impl<'a> DigestedRow<'a> {
    fn of(row: &'a PlanRow) -> Self {
        Self {
            machine: &row.machine,
            customer: &row.customer,
            product: row.product.as_ref(),
            how: &row.how,
            cannot: row.cannot,
            asked: (row.password, row.activation),
            supersedes: row.supersedes.as_ref(),
        }
    }
}

impl OrderPlan {
    /// Of what would be done where, and how (SHA-256, hexadecimal).
    pub fn digest(&self, scope: &Scope) -> String {
        let digested = Digested {
            wish: self.wish,
            customer: scope.customer.as_ref(),
            machine: scope.machine.as_ref(),
            licence: scope.licence.as_ref().map(ToString::to_string),
            product: scope.product.as_ref(),
            needs_second: self.needs_second,
            keys_revision: self.keys_revision,
            rows: self.rows.iter().map(DigestedRow::of).collect(),
        };
        hex::format(&hash(&serde_json::to_vec(&digested).expect("a plan has text keys and plain values")))
    }
}

impl Console {
    /// Who can sign orders here.
    ///
    /// # Errors
    /// When the vault fails.
    pub async fn signer(&self) -> Result<Signer, Fault> {
        if self.books.read(|fold| fold.orders().keys().newest().is_none()) {
            return Ok(Signer::Nobody);
        }
        let is_here =
            self.config.order_key == OrderKey::Vault && self.kept_order_key(self.trusted()).await?.is_some();
        Ok(if is_here { Signer::Here } else { Signer::Operator })
    }

    /// Places what was agreed to and, where the key is here, signs it.
    ///
    /// # Errors
    /// When another plan would be carried out, there is nothing to do, something is missing, the passphrase does not
    /// open the key, or it cannot be written. Nothing is ordered then.
    pub async fn order(&self, caller: &Caller, agreed: Agreed) -> Result<Ordered, Fault> {
        let ready = self.ready(caller, agreed).await?;
        if ready.made.orders.is_empty() {
            return Err(Fault::value(
                "the order",
                "is of nothing: there is no machine on which it can be done",
            ));
        }
        self.go(caller, ready).await
    }

    /// Puts on record that a customer leaves, is suspended or comes back, and orders what goes with it.
    ///
    /// # Errors
    /// As [`Self::order`]; a customer without a machine on which anything can be done departs all the same.
    pub async fn depart_and_order(
        &self,
        caller: &Caller,
        departure: wire::Departure,
        agreed: Agreed,
    ) -> Result<Ordered, Fault> {
        let customer = agreed.scope.customer.clone();
        let customer = customer.ok_or_else(|| Fault::value("the customer", "is missing"))?;
        let ready = self.ready(caller, agreed).await?;
        let (revoked, _) = self.depart_customer(caller, customer, departure, &ready.reason).await?;
        if ready.made.orders.is_empty() {
            return Ok(Ordered { batch: None, waits: Waits::Nothing, revoked });
        }
        Ok(Ordered { revoked, ..self.go(caller, ready).await? })
    }

    /// Signs a batch that waits for nothing else.
    ///
    /// # Errors
    /// When other orders wait than those that were shown, the key is not here, the passphrase does not open it, or it
    /// cannot be written.
    pub async fn sign_batch(
        &self,
        caller: &Caller,
        batch: BatchId,
        digest: &str,
        passphrase: Zeroizing<String>,
    ) -> Result<(), Fault> {
        let waiting = self.unsigned_orders(Some(batch), 0).await?;
        if digest_of(&waiting) != digest {
            return Err(Fault::PlanChanged);
        }
        let key = self.opened_order_key(caller, passphrase).await?;
        self.take_signatures(caller, signed(&waiting, &key)).await?;
        Ok(())
    }

    /// Checks what was agreed to and opens the key: nothing is written.
    async fn ready(&self, caller: &Caller, agreed: Agreed) -> Result<Ready, Fault> {
        let Agreed { wish, scope, digest, machines, expires_at, at_once, secrets, passphrase, reason } =
            agreed;
        checked_reason(&reason)?;
        if reason.trim().is_empty() {
            return Err(Fault::value("the reason", "is missing: what ends or begins protection says why"));
        }
        let plan = self.plan_orders(wish, &scope, 0).await?;
        if plan.digest(&scope) != digest {
            return Err(Fault::PlanChanged);
        }
        if machines.is_some_and(|typed| typed != plan.machines) {
            let why = format!("is not {}: nothing was ordered", plan.machines);
            return Err(Fault::value("the number of machines", why));
        }
        if expires_at <= plan.now {
            return Err(Fault::value("the end of the order", format!("is over: it is {}", plan.now)));
        }
        let made = plan.made(&Terms { scope, expires_at, at_once, secrets })?;
        let is_signed = !plan.needs_second && !made.orders.is_empty() && self.signer().await? == Signer::Here;
        let key = match is_signed {
            true => Some(self.opened_order_key(caller, passphrase).await?),
            false => None,
        };
        Ok(Ready { made, key, reason })
    }

    async fn go(&self, caller: &Caller, ready: Ready) -> Result<Ordered, Fault> {
        let Ready { made, key, reason } = ready;
        let batch = made.batch.clone();
        let placed = self.place(caller, made.request.clone(), &reason, made.orders.clone()).await?;
        let waits = match (placed.held, key) {
            (true, _) => Waits::Second,
            (false, None) => Waits::Signature,
            (false, Some(key)) => {
                let unsigned = self.unsigned_orders(Some(batch.clone()), placed.position).await?;
                if !made.holds(&unsigned) {
                    return Err(Fault::PlanChanged);
                }
                self.take_signatures(caller, signed(&unsigned, &key)).await?;
                Waits::Machines
            }
        };
        Ok(Ordered { batch: Some(batch), waits, revoked: Vec::new() })
    }

    /// The key that signs orders. A try at its passphrase is counted as one at a password is.
    async fn opened_order_key(
        &self,
        caller: &Caller,
        passphrase: Zeroizing<String>,
    ) -> Result<SigningKey, Fault> {
        let name = format!("order-key/{}", caller.operator());
        self.throttled(|throttle, now| throttle.at_name(&name, caller.from, now)).await?;
        let locked = self.kept_order_key(self.trusted()).await?.ok_or(Fault::NoOrderKey)?;
        let opened = self.costly(move || {
            // What is this long opens nothing, and would be worth somebody's while to send.
            if passphrase.len() > BYTES_MAX {
                return Err(Fault::OrderKey(KeyError::Passphrase));
            }
            locked.open(&passphrase).map_err(Fault::OrderKey)
        });
        let opened = opened.await;
        if opened.is_err() {
            tracing::warn!(operator = %caller.operator(), "the order key was not opened");
        }
        opened
    }
}

/// Of orders that wait for a signature: what is shown is what is signed.
pub fn digest_of(orders: &[wire::Order]) -> String {
    use prost::Message as _;
    let all: Vec<u8> = orders.iter().flat_map(|order| hash(&order.encode_to_vec())).collect();
    hex::format(&hash(&all))
}
