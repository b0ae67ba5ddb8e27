//! Orders as they are placed and signed, made from a plan. Invariant: what is signed is what was made here, order by
//! order; a secret is sealed to its machine where it was typed in, and is nowhere in clear afterwards.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use prost::Message as _;
use seatbeat_ledger::orders::Scope;
use seatbeat_proto::ids::{BatchId, MachineId, OrderId};
use seatbeat_proto::signed::{Domain, hash, sign};
use seatbeat_proto::{instant, sealing, wire};
use zeroize::Zeroize as _;

use super::{Asked, OrderPlan, PlanRow, Wish};

/// How much longer an agent may be let go than its products may be switched off: reports have to confirm those.
const UNENROL_LATER_S: i64 = 30 * 24 * 3600;

/// What products are told so that they can be switched.
#[derive(Default)]
pub struct Secrets(pub wire::OrderSecrets);

impl Secrets {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.0 == wire::OrderSecrets::default()
    }

    /// Whether the vendor's manager, tenant and token are all there.
    fn can_activate(&self) -> bool {
        !self.0.manager.is_empty() && !self.0.tenant.is_empty() && !self.0.token.is_empty()
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.0.password.zeroize();
        self.0.token.zeroize();
    }
}

/// How what was planned is ordered.
pub struct Terms {
    /// Where.
    pub scope: Scope,
    /// Given up what was not begun by then.
    pub expires_at: Timestamp,
    /// Without the hour that lies between two switches of a product.
    pub at_once: bool,
    /// What the products are told.
    pub secrets: Secrets,
}

/// A batch that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its id.
    pub batch: BatchId,
    /// What is asked for.
    pub request: wire::OrdersRequested,
    /// The orders, each with what is sealed for it.
    pub orders: Vec<wire::SealedOrder>,
}

/// Orders that are not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    /// A password is missing.
    #[error("{product} asks for a password on {machine}")]
    Password {
        /// Of which product.
        product: String,
        /// Where.
        machine: MachineId,
    },
    /// The manager, the tenant or the token is missing.
    #[error("{product} is activated with its manager on {machine}")]
    Activation {
        /// Of which product.
        product: String,
        /// Where.
        machine: MachineId,
    },
    /// The agent has told no key.
    #[error("nothing can be sealed to {0}: its agent has told no seal key yet")]
    NoSealKey(MachineId),
}

impl PlanRow {
    /// What is switched, in words.
    pub fn what(&self) -> String {
        self.product.as_ref().map_or_else(|| "the agent".to_owned(), ToString::to_string)
    }
}

impl OrderPlan {
    /// What can be done.
    pub fn possible(&self) -> impl Iterator<Item = &PlanRow> {
        self.rows.iter().filter(|row| row.cannot.is_none())
    }

    /// The orders of what can be done; none: nothing can.
    ///
    /// # Errors
    /// When a product asks for something that is missing, or a secret cannot be sealed.
    pub fn made(&self, terms: &Terms) -> Result<Made, NotMade> {
        self.complete(&terms.secrets)?;
        let orders: Vec<wire::SealedOrder> =
            self.possible().map(|row| self.order(row, terms)).collect::<Result<_, _>>()?;
        let action = match self.wish {
            Wish::SwitchOn => wire::Action::SwitchOn,
            Wish::Unenrol => wire::Action::Unenrol,
            Wish::SwitchOff | Wish::Uninstall => wire::Action::SwitchOff,
        };
        let batch = BatchId::random();
        let expiries = orders.iter().filter_map(|one| Some(one.order.as_ref()?.expires_at_ms));
        let request = wire::OrdersRequested {
            batch: batch.to_string(),
            action: action.into(),
            scope: Some(scope_to_wire(&terms.scope)),
            machines: self.machines,
            orders: orders.len() as u32,
            expires_at_ms: expiries.max().unwrap_or_default(),
        };
        Ok(Made { batch, request, orders })
    }

    /// Whether whatever is asked for is there.
    fn complete(&self, secrets: &Secrets) -> Result<(), NotMade> {
        let must = |asked: fn(&PlanRow) -> Asked| self.possible().find(|row| asked(row) == Asked::Must);
        if let Some(row) = must(|row| row.password).filter(|_| secrets.0.password.is_empty()) {
            return Err(NotMade::Password { product: row.what(), machine: row.machine.clone() });
        }
        if let Some(row) = must(|row| row.activation).filter(|_| !secrets.can_activate()) {
            return Err(NotMade::Activation { product: row.what(), machine: row.machine.clone() });
        }
        Ok(())
    }

    fn order(&self, row: &PlanRow, terms: &Terms) -> Result<wire::SealedOrder, NotMade> {
        let is_agent = row.product.is_none();
        let action = match self.wish {
            Wish::SwitchOn => wire::Action::SwitchOn,
            Wish::Unenrol if is_agent => wire::Action::Unenrol,
            Wish::SwitchOff | Wish::Uninstall | Wish::Unenrol => wire::Action::SwitchOff,
        };
        let mut order = wire::Order {
            order: OrderId::random().to_string(),
            machine: row.machine.to_string(),
            action: action.into(),
            product: row.product.as_ref().map(ToString::to_string).unwrap_or_default(),
            issued_at_ms: instant::to_ms(self.now),
            expires_at_ms: instant::to_ms(terms.expires_at)
                + if is_agent { UNENROL_LATER_S * 1000 } else { 0 },
            uninstall: self.wish == Wish::Uninstall,
            at_once: terms.at_once,
            ..wire::Order::default()
        };
        let is_asked = row.password != Asked::No || row.activation != Asked::No;
        if terms.secrets.is_empty() || !is_asked {
            return Ok(wire::SealedOrder { order: Some(order), sealed: Vec::new() });
        }
        let sealed = sealing::seal(&row.seal_key, &order, &terms.secrets.0)
            .map_err(|_| NotMade::NoSealKey(row.machine.clone()))?;
        order.secrets_hash = hash(&sealed).to_vec();
        Ok(wire::SealedOrder { order: Some(order), sealed })
    }
}

impl Made {
    /// Whether these orders are the ones that were made here, as they wait for a signature: each with its place.
    pub fn holds(&self, unsigned: &[wire::Order]) -> bool {
        let made: BTreeMap<&str, &wire::Order> = self
            .orders
            .iter()
            .filter_map(|one| one.order.as_ref())
            .map(|one| (one.order.as_str(), one))
            .collect();
        unsigned.iter().all(|order| {
            let as_made = wire::Order { sequence: 0, epoch: 0, ..order.clone() };
            made.get(order.order.as_str()) == Some(&&as_made)
        })
    }
}

/// Signs orders as they wait.
pub fn signed(orders: &[wire::Order], key: &SigningKey) -> Vec<wire::Signed> {
    orders.iter().map(|order| sign(key, Domain::Order, order.encode_to_vec())).collect()
}

/// What orders are about, on the wire.
pub fn scope_to_wire(scope: &Scope) -> wire::OrderScope {
    fn text(id: Option<&impl ToString>) -> String {
        id.map(ToString::to_string).unwrap_or_default()
    }
    wire::OrderScope {
        customer: text(scope.customer.as_ref()),
        machine: text(scope.machine.as_ref()),
        licence: text(scope.licence.as_ref()),
        product: text(scope.product.as_ref()),
    }
}
